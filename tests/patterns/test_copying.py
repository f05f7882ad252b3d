"""Copying against the obvious computation from the weights of known families, and where it cannot be read."""

from __future__ import annotations

import pytest
import torch
import transformers

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.patterns.copying import own_ranks
from attention_analyzer.patterns.ov_copying import measure_copying
from tests.patterns import planted as plan

LAYERS, HEADS, CHANNELS = 2, 6, 5


def test_ranks() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    assert own_ranks(logits).tolist() == [1.0, 0.0, 0.5]
    assert own_ranks(torch.ones(1, 1)).isnan().all()


def test_a_head_that_copies_is_found_and_one_that_writes_nothing_is_at_chance() -> None:
    first, second = measure_copying(plan.planted().loaded, examples=3)
    assert first.strengths.strength.unique().tolist() == [0.5]
    assert second.strengths.strength[0, :, 0].tolist() == [1.0] * 3
    assert second.strengths.strength[0, :, 1:].unique().tolist() == [0.5]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_heads_write_is_read_whatever_the_family_calls_its_parts(family: str) -> None:
    analyzer = small(family)
    found = measure_copying(analyzer.loaded, examples=1, tokens=17, seed=3)
    expected = reference(analyzer, family, found[0].keys[0].ids)
    actual = torch.stack([each.strengths.strength[0, 0] for each in found])
    assert actual.shape == (LAYERS, HEADS)
    assert torch.allclose(actual, expected, atol=1e-6)
    assert actual.std() > 0.01


def small(family: str) -> AttentionAnalyzer:
    if family == "llama":
        config = transformers.LlamaConfig(
            vocab_size=plan.V,
            hidden_size=HEADS * CHANNELS,
            intermediate_size=37,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=3,
            head_dim=CHANNELS + 1,
            max_position_embeddings=96,
            initializer_range=0.3,
        )
        kind = "LlamaForCausalLM"
    else:
        config = transformers.GPT2Config(
            vocab_size=plan.V,
            n_embd=HEADS * CHANNELS,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=96,
            bos_token_id=0,
            eos_token_id=1,
            initializer_range=0.3,
        )
        kind = "GPT2LMHeadModel"
    analyzer = AttentionAnalyzer.from_config(config, plan.tokenizer(True), model_class=kind)
    with torch.no_grad():
        for name, weight in analyzer.model.named_parameters():
            if "norm" in name or "ln_" in name:
                weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
    return analyzer


def reference(analyzer: AttentionAnalyzer, family: str, ids: tuple[int, ...]) -> torch.Tensor:
    """``[layer, head]``, from hidden states and the family's own names for its weights."""
    model = analyzer.model
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        found = torch.zeros(LAYERS, HEADS, dtype=torch.float64)
        for layer in range(LAYERS):
            if family == "llama":
                block = model.model.layers[layer]
                values = block.self_attn.v_proj(block.input_layernorm(hidden[layer]))[0]
                per_head = values.view(len(ids), 3, -1).repeat_interleave(2, dim=1)
                out = block.self_attn.o_proj.weight.view(HEADS * CHANNELS, HEADS, -1)
                gain, center, unembedding = model.model.norm.weight, 0, model.lm_head.weight
            else:
                block = model.transformer.h[layer]
                values = block.attn.c_attn(block.ln_1(hidden[layer]))[0].chunk(3, dim=-1)[2]
                per_head = values.view(len(ids), HEADS, -1)
                out = block.attn.c_proj.weight.T.view(HEADS * CHANNELS, HEADS, -1)
                gain, center, unembedding = model.transformer.ln_f.weight, 1, model.lm_head.weight
            for head in range(HEADS):
                written = per_head[:, head] @ out[:, head].T
                written = (written - center * written.mean(-1, keepdim=True)) * gain
                inside = slice(1, len(ids))  # without <s>
                logits = written[inside] @ unembedding[list(ids[inside])].T
                size = len(ids) - 1
                better = [
                    sum(float(logits[i, j] < logits[i, i]) for j in range(size) if j != i) / (size - 1)
                    for i in range(size)
                ]
                found[layer, head] = sum(better) / size
    return found


def test_a_family_that_gates_its_output_is_refused() -> None:
    config = transformers.Qwen3NextConfig(
        vocab_size=plan.V,
        hidden_size=24,
        intermediate_size=31,
        num_hidden_layers=1,
        layer_types=["full_attention"],
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=8,
        max_position_embeddings=96,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    analyzer = AttentionAnalyzer.from_config(config, plan.tokenizer(True), model_class="Qwen3NextForCausalLM")
    with pytest.raises(UnsupportedModelError, match=r"output projection of .* was not found"):
        measure_copying(analyzer.loaded)
    assert "copying" not in set(analyzer.label_heads(plan.texts(3)).table["pattern"])


def test_a_model_without_logits_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="PlantedModel has none"):
        measure_copying(plan.planted(is_decoder=False).loaded)
