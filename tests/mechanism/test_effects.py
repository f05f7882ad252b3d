"""Direct effects against sums written out by hand, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.mechanism.effects import check_sum, effects
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.results import Effects

TEXT = "The cat sat on the mat. The cat"
SIZES = {"vocab_size": 6144, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def of_config(config: Any, model_class: str = "AutoModelForCausalLM") -> AttentionAnalyzer:
    """A random model of the demo tokenizer's vocabulary, with weights that make its parts differ."""
    analyzer = AttentionAnalyzer.from_config(
        config, AttentionAnalyzer("demo-decoder", cache=False).tokenizer, model_class=model_class
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in analyzer.model.parameters():
            spread = 0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
    return analyzer


def outputs_of(model: nn.Module, names: list[str], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What modules returned, and what ``<name>.in`` were given, in a plain forward."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, given: Any, made: Any) -> None:
            found[f"{name}.in"] = given[0] if given else torch.empty(0)
            found[name] = made[0] if isinstance(made, tuple) else made

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        found["logits"] = model(**inputs).logits
    for handle in handles:
        handle.remove()
    return found


def effect(result: Effects, component: str) -> float:
    return float(result.rows.set_index("component")["effect"][component])


def test_a_llama_by_hand(decoder: AttentionAnalyzer) -> None:
    model: Any = decoder.model
    result = decoder.effects(TEXT, target="sat", versus="was")
    inputs = dict(decoder.tokenizer(TEXT, return_tensors="pt"))
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    layers = range(model.config.num_hidden_layers)
    names = ["model.embed_tokens", "model.norm", *(f"model.layers.{n}.mlp" for n in layers)]
    names += [f"model.layers.{n}.self_attn.o_proj" for n in layers]
    found = outputs_of(model, names, inputs)
    one, other = (decoder.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("sat", "was"))
    stream = found["model.norm.in"][0, -1]
    scale = (stream.pow(2).mean() + model.config.rms_norm_eps).rsqrt()
    direction = scale * model.model.norm.weight.detach() * (model.lm_head.weight[one] - model.lm_head.weight[other])
    direction = direction.detach()
    logits = found["logits"][0, -1]
    assert result.logit == pytest.approx(float(logits[one] - logits[other]), abs=1e-5)
    assert effect(result, "token embedding") == pytest.approx(
        float(found["model.embed_tokens"][0, -1] @ direction), abs=1e-4
    )
    width = model.config.head_dim
    for layer in layers:
        assert effect(result, f"L{layer} MLP") == pytest.approx(
            float(found[f"model.layers.{layer}.mlp"][0, -1] @ direction), abs=1e-4
        )
        given = found[f"model.layers.{layer}.self_attn.o_proj.in"][0, -1]
        weight = model.model.layers[layer].self_attn.o_proj.weight.detach()
        for head in range(model.config.num_attention_heads):
            part = slice(head * width, (head + 1) * width)
            by_hand = float(weight[:, part] @ given[part] @ direction)
            assert effect(result, f"L{layer}H{head}") == pytest.approx(by_hand, abs=1e-4)
    assert result.rows["effect"].sum() == pytest.approx(result.logit, abs=1e-4)
    assert len(result.rows) == 5 * 6 + 5 + 1


def test_source_tokens_by_hand(decoder: AttentionAnalyzer) -> None:
    """A head's effect splits into weight × value × direction."""
    model: Any = decoder.model
    result = decoder.effects(TEXT, target="sat")
    record = decoder.record(TEXT)
    layer, head = 2, 3
    names = [f"model.layers.{layer}.self_attn.v_proj", "model.norm"]
    ids = decoder.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    found = outputs_of(model, names, {"input_ids": ids})
    token = decoder.tokenizer(" sat", add_special_tokens=False)["input_ids"][0]
    scale = (found["model.norm.in"][0, -1].pow(2).mean() + model.config.rms_norm_eps).rsqrt()
    direction = (scale * model.model.norm.weight * model.lm_head.weight[token]).detach()
    width = model.config.head_dim
    value = found[names[0]][0][:, (head // 2) * width : (head // 2 + 1) * width]
    out = model.model.layers[layer].self_attn.o_proj.weight.detach()[:, head * width : (head + 1) * width]
    by_hand = record.weights(layer, head)[-1] * (value @ out.T @ direction)
    shown = result.by_source(layer, head)
    torch.testing.assert_close(torch.tensor(shown["effect"].to_numpy()), by_hand, atol=1e-4, rtol=1e-4)
    assert list(shown["token"]) == list(record.tokens.pieces)


CONFIGS = {
    "learned positions, layer norm, biases": transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, **SIZES),
    "parallel blocks": transformers.GPTNeoXConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, **SIZES
    ),
    "norms after attention, soft caps": transformers.Gemma2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=48, final_logit_softcapping=3.0, **SIZES,
    ),
    "scaled residuals and logits": transformers.GraniteConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        embedding_multiplier=3.0, residual_multiplier=0.3, logits_scaling=2.0, **SIZES,
    ),
    "one norm for attention and MLP": transformers.CohereConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, **SIZES
    ),
    "latent attention, experts": transformers.DeepseekV3Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, intermediate_size=48,
        moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1,
        first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
        **SIZES,
    ),
    "attention of its own, position bias, custom functions": transformers.BloomConfig(
        hidden_size=32, n_layer=2, n_head=4, vocab_size=6144
    ),
    "attention of its own, one key head": transformers.FalconConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, multi_query=True, vocab_size=6144
    ),
    "attention of its own, parallel": transformers.GPTJConfig(
        n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=64, vocab_size=6144
    ),
    "linear attention, gates": transformers.Qwen3NextConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=48, moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts=4,
        num_experts_per_tok=2, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
        linear_value_head_dim=8, **SIZES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_effects_of_any_structure_sum_to_the_plain_logit(name: str) -> None:
    analyzer = of_config(CONFIGS[name])
    result = analyzer.effects(TEXT, target="sat", versus="was")
    assert result.deviation < 1e-4
    with torch.no_grad():
        plain = analyzer.model(**analyzer.tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)).logits
    one, other = (analyzer.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("sat", "was"))
    assert result.logit == pytest.approx(float(plain[0, -1, one] - plain[0, -1, other]), abs=1e-5)
    heads = result.heads()
    assert (heads["effect"].abs() > 1e-6).all()
    for row in heads.itertuples():
        sources = result.by_source(row.layer, row.head)["effect"]
        assert sources.sum() == pytest.approx(row.effect, abs=1e-4)


def test_a_post_norm_encoder_and_an_encoder_decoder_sum_to_their_logits() -> None:
    encoder = AttentionAnalyzer("demo-encoder", cache=False).effects("The cat [MASK] on the mat.")
    assert (encoder.position, encoder.deviation < 1e-4) == (3, True)
    assert "gelu" in encoder.held
    translator = AttentionAnalyzer("demo-translator", cache=False).effects(("today is monday", "2024"))
    assert {"self", "cross"} == set(translator.heads()["attention"])
    assert translator.by_source(0, 0, kind="cross")["token"].tolist() != translator.by_source(0, 0)["token"].tolist()


def test_the_model_is_untouched_and_no_hook_stays(decoder: AttentionAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    decoder.effects(TEXT)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = decoder.model.get_submodule("model.layers.3").register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        decoder.effects(TEXT)
    handle.remove()
    assert not torch_module._global_forward_hooks
    assert not torch_module._global_forward_pre_hooks
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in decoder.model.modules())
    assert all(parameter.grad is None for parameter in decoder.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in decoder.model.state_dict().items())
    assert decoder.effects(TEXT).deviation < 1e-4


def test_parts_that_are_nan_never_pass_as_a_sum() -> None:
    loaded = LoadedModel(nn.Linear(1, 1))
    check_sum(loaded, 3.0, [1.0, 2.0], torch.float32)
    for parts in ([1.0, 2.1], [1.0, float("nan")]):
        with pytest.raises(errors.CaptureError, match="so they are not shown"):
            check_sum(loaded, 3.0, parts, torch.float32)


class Squared(nn.Module):
    """A head that does to the stream what is neither a sum, a norm nor a gate."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.weight = head.weight

    def forward(self, states: Tensor) -> Tensor:
        return torch.nn.functional.linear(torch.sort(states, dim=-1).values, self.weight)


def test_a_stream_that_cannot_be_followed_is_refused() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    model: Any = analyzer.model
    model.lm_head = Squared(model.lm_head)
    with pytest.raises(errors.UnsupportedModelError, match="could not be followed from its attention and embedding"):
        analyzer.effects(TEXT)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "unbelievable cats"}, errors.InputError, "is not one token of demo-decoder but"),
        ({"target": "sat", "versus": "sat"}, errors.InputError, "the same token"),
        ({"target": 99_999}, errors.SelectionError, "There is no token 99999; the vocabulary has 6144"),
        ({"position": 30}, errors.SelectionError, "There is no position 30: there are 10"),
    ],
)
def test_bad_input_is_one_sentence(
    decoder: AttentionAnalyzer, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decoder.effects(TEXT, **options)


def test_a_model_without_a_head_and_a_text_without_a_mask_are_refused() -> None:
    headless = AttentionAnalyzer("all-MiniLM-L6-v2", cache=False)
    with pytest.raises(errors.UnsupportedModelError, match="no language-model head"):
        headless.effects(TEXT)
    with pytest.raises(errors.InputError, match="the text has 0"):
        AttentionAnalyzer("demo-encoder", cache=False).effects(TEXT)


def test_nan_is_refused(decoder: AttentionAnalyzer) -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    model: Any = analyzer.model
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(errors.CaptureError, match="is nan, so what made it cannot be told"):
        effects(LoadedModel(model, analyzer.tokenizer, "broken"), TEXT)
