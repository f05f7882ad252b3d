"""A score split by components against the split written out by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from attention_analyzer import AttentionAnalyzer, errors
from tests.mechanism.test_effects import CONFIGS, TEXT, of_config, outputs_of


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def test_a_llama_by_hand(decoder: AttentionAnalyzer) -> None:
    """Every cell of a head of layer 1: norm held, projected, rotated."""
    model: Any = decoder.model
    layer, head, query, key = 1, 4, 9, 2
    width = model.config.head_dim
    names = ["model.embed_tokens", "model.layers.0.mlp", "model.layers.0.self_attn.o_proj", "model.layers.1"]
    ids = decoder.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    found = outputs_of(model, names, {"input_ids": ids})
    stream = found["model.layers.1.in"][0]
    scale = (stream.pow(2).mean(-1, keepdim=True) + model.config.rms_norm_eps).rsqrt()
    block = model.model.layers[layer]
    cos, sin = model.model.rotary_emb(stream[None], torch.arange(len(stream))[None])

    def projected(weight: Tensor, number: int, written: Tensor) -> Tensor:
        part = weight[number * width : (number + 1) * width]
        vectors = (written * scale * block.input_layernorm.weight @ part.T)[None, None]
        turned, _ = apply_rotary_pos_emb(vectors, torch.zeros_like(vectors), cos, sin)
        return turned[0, 0].detach()

    written = {"token embedding": found["model.embed_tokens"][0], "L0 MLP": found["model.layers.0.mlp"][0]}
    out = model.model.layers[0].self_attn.o_proj.weight
    for number in range(6):
        part = slice(number * width, (number + 1) * width)
        written[f"L0H{number}"] = found["model.layers.0.self_attn.o_proj.in"][0][:, part] @ out[:, part].T
    result = decoder.why(TEXT, layer, head, query, key)
    assert set(result.table.index) == set(result.table.columns) == set(written)
    for one, left in written.items():
        for other, right in written.items():
            q = projected(block.self_attn.q_proj.weight, head, left)[query]
            k = projected(block.self_attn.k_proj.weight, head // 2, right)[key]
            assert result.table.loc[one, other] == pytest.approx(float(q @ k) * width**-0.5, abs=1e-4)
    assert result.table.to_numpy().sum() == pytest.approx(result.score, abs=1e-4)
    assert result.weight == pytest.approx(float(decoder.record(TEXT).weights(layer, head)[query, key]), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "of its own" not in name])
def test_any_structure_sums_to_the_score_and_sources_to_the_components(name: str) -> None:
    analyzer = of_config(CONFIGS[name])
    record = analyzer.record(TEXT)
    layer = record.sites[-1].layer
    result = record.why(layer, 1, -1, 3)
    assert result.deviation < 1e-4
    assert abs(result.score) > 1e-3
    sides = result.by_component().set_index("component")
    for (side, component), rows in result.sources.groupby(["side", "component"]):
        assert rows["score"].sum() == pytest.approx(sides.loc[component, side], abs=1e-4)


def test_attention_of_a_models_own_is_refused_with_what_works() -> None:
    analyzer = of_config(CONFIGS["attention of its own, parallel"])
    with pytest.raises(errors.UnsupportedModelError, match=r"effects\(\) works for this model, why\(\) does not"):
        analyzer.why(TEXT, 1, 1, -1, 3)


def test_a_position_bias_is_given_apart() -> None:
    translator = AttentionAnalyzer("demo-translator", cache=False)
    record = translator.record(("today is monday", "2024"))
    result = record.why(1, 2, 1, 0, stack="decoder")
    entry = record.entry(1, stack="decoder", kind="self")
    scores = [record.why(1, 2, 1, key, stack="decoder") for key in (0, 1)]
    weights = torch.softmax(torch.tensor([each.score + each.bias for each in scores]), 0)
    torch.testing.assert_close(entry.weights[2, 1, :2], weights, atol=1e-5, rtol=1e-5)
    assert result.bias != 0
    assert record.why(1, 2, 1, 2, kind="cross").key_token == record.tokens.pieces[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 6, 3, 2), "There is no head 6 in layer 1"),
        ((9, 0, 3, 2), "There is no head 0 in layer 9"),
        ((1, 0, 30, 2), "There is no query 30: there are 10"),
        ((1, 0, 2, 5), "may not attend to"),
    ],
)
def test_bad_input_is_one_sentence(decoder: AttentionAnalyzer, arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(errors.SelectionError, match=message):
        decoder.record(TEXT).why(*arguments)


def test_a_record_from_a_file_needs_its_model(decoder: AttentionAnalyzer, tmp_path: Any) -> None:
    decoder.record(TEXT).save(tmp_path / "a.attn")
    loaded = type(decoder.record(TEXT)).load(tmp_path / "a.attn")
    with pytest.raises(errors.InputError, match="pass analyzer=…"):
        loaded.why(1, 0, 3, 2)
    with pytest.raises(errors.InputError, match="other weights or configuration"):
        loaded.why(1, 0, 3, 2, analyzer=AttentionAnalyzer("demo-encoder", cache=False))
    assert loaded.why(1, 0, 3, 2, analyzer=decoder).score == decoder.why(TEXT, 1, 0, 3, 2).score
