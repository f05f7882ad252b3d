"""What heads write and how they compose, against products of weight matrices written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.inputs import prepare
from attention_analyzer.mechanism.trace import call_of, trace
from attention_analyzer.mechanism.writes import logits_by_channel
from tests.mechanism.test_effects import CONFIGS, SIZES, of_config

TEXT = "Tom saw a red bird. Sue saw a red"


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def maps(model: Any, layer: int, head: int) -> list[Tensor]:
    """Query, key and value maps of a Llama's head with the norm's weights, and its output map."""
    attention, norm = model.model.layers[layer].self_attn, model.model.layers[layer].input_layernorm.weight
    width = model.config.head_dim
    shared = head // (model.config.num_attention_heads // model.config.num_key_value_heads)
    own, group = slice(head * width, (head + 1) * width), slice(shared * width, (shared + 1) * width)
    read = (attention.q_proj.weight[own], attention.k_proj.weight[group], attention.v_proj.weight[group])
    return [*((each * norm).detach().double() for each in read), attention.o_proj.weight[:, own].detach().double()]


def test_what_a_head_writes_by_hand(decoder: AttentionAnalyzer) -> None:
    """Value, output map, final norm at its scale, unembedding; less the vocabulary's mean."""
    model: Any = decoder.model
    layer, head = 4, 2
    found = decoder.writes(TEXT, layer, head, top=3)
    kept: dict[str, Tensor] = {}
    values = model.model.layers[layer].self_attn.v_proj
    handles = [
        values.register_forward_hook(lambda _, __, made: kept.update(value=made[0])),
        model.model.norm.register_forward_pre_hook(lambda _, given: kept.update(stream=given[0][0, -1])),
    ]
    with torch.no_grad():
        model(decoder.tokenizer(TEXT, return_tensors="pt")["input_ids"])
    for handle in handles:
        handle.remove()
    width = model.config.head_dim
    scale = (kept["stream"].pow(2).mean() + model.config.rms_norm_eps).rsqrt()
    unembedding = (model.lm_head.weight * model.model.norm.weight * scale).detach()
    out = maps(model, layer, head)[3].float()
    logits = kept["value"][:, width : 2 * width] @ out.T @ unembedding.T
    logits -= logits.mean(1, keepdim=True)
    for row, by_hand, number in zip(found.table.itertuples(), logits, found.tokens.ids, strict=True):
        best = by_hand.topk(3)
        assert row.promoted_by == pytest.approx(float(best.values[0]), abs=1e-3)
        assert row.promoted == tuple(decoder.tokenizer.decode([n]).strip() for n in best.indices.tolist())
        assert row.own == pytest.approx(float(by_hand[number]), abs=1e-3)
        assert row.own_rank == pytest.approx(float((by_hand < by_hand[number]).float().mean()), abs=1e-3)
    assert found.table["weight"].sum() == pytest.approx(1, abs=1e-5)


def test_induction_heads_copy_and_a_random_model_does_not(decoder: AttentionAnalyzer) -> None:
    for head in (2, 3):
        copying = decoder.writes(TEXT, 4, head)
        assert copying.interval[0] > 0.1
        assert copying.copying > copying.control
    random = of_config(transformers.LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, **SIZES
    )).writes("The old man walked down the road and his dog ran ahead of him to the house.", 1, 0)  # fmt: skip
    assert abs(random.copying - random.control) < 0.15


def test_a_head_without_a_direct_path_is_refused(decoder: AttentionAnalyzer) -> None:
    translator = AttentionAnalyzer("demo-translator", cache=False)
    cross = translator.writes(("today is monday", "2024"), 0, 1, kind="cross")
    assert cross.tokens.pieces != translator.writes(("today is monday", "2024"), 0, 1, stack="decoder").tokens.pieces
    with pytest.raises(errors.UnsupportedModelError, match="no direct path to the logits"):
        translator.writes(("today is monday", "2024"), 0, 1, stack="encoder")
    with pytest.raises(errors.SelectionError, match="There is no head 9 in layer 1"):
        decoder.writes(TEXT, 1, 9)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "linear" not in name])
def test_every_structure_has_writes_that_agree_with_its_effects(name: str) -> None:
    analyzer = of_config(CONFIGS[name])
    loaded = analyzer.loaded
    run = trace(loaded, prepare(loaded, [TEXT]).inputs)
    call = call_of(run, 1, 3)
    at = run.outputs.logits.shape[1] - 1
    moved = call.value[3 // (call.heads // len(call.value))].double() @ logits_by_channel(
        run.outputs.logits[0, at], call, at, 3
    )
    weights = analyzer.record(TEXT).weights(1, 3)[at].double()
    sources = analyzer.effects(TEXT, target=7, versus=90).by_source(1, 3)["effect"].to_numpy()
    np.testing.assert_allclose((weights * (moved[:, 7] - moved[:, 90])).numpy(), sources, atol=1e-4)


def test_composition_scores_by_hand(decoder: AttentionAnalyzer) -> None:
    found = decoder.compositions().table.set_index(["sender", "receiver", "input"])["score"]
    for (one, first), (two, second) in (((1, 4), (4, 2)), ((0, 3), (1, 4)), ((3, 0), (4, 5))):
        _, _, value, out = maps(decoder.model, one, first)
        query, key, later, written = maps(decoder.model, two, second)
        ov, qk, ov2 = out @ value, query.T @ key, written @ later
        by_hand = {"query": qk.T @ ov, "key": qk @ ov, "value": ov2 @ ov}
        for name, product in by_hand.items():
            whole = (ov2 if name == "value" else qk).norm() * ov.norm()
            score = found[f"L{one}H{first}", f"L{two}H{second}", name]
            assert score == pytest.approx(float(product.norm() / whole), abs=1e-5)


def test_the_induction_circuit_is_in_the_weights(decoder: AttentionAnalyzer) -> None:
    """Previous-token heads meet the keys of induction heads more than any other pair."""
    found = decoder.compositions()
    best = found.to_frame().head(4)
    assert set(best["receiver"]) <= {"L4H2", "L4H3"}
    assert set(best["input"]) == {"key"}
    assert (best["score"] > best["high"]).all()
    only = decoder.compositions(into="L4H2").table
    assert set(only["receiver"]) == {"L4H2"}
    assert len(only) == 24 * 3


def test_random_weights_score_as_the_baseline_says() -> None:
    analyzer = of_config(transformers.LlamaConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, intermediate_size=48,
        head_dim=16, **SIZES,
    ))  # fmt: skip
    with torch.no_grad():
        for name, parameter in analyzer.model.named_parameters():
            if "layernorm" in name:
                parameter.fill_(1.0)
    table = analyzer.compositions().table
    assert table["score"].mean() == pytest.approx(table["baseline"].mean(), rel=0.03)
    assert 0 <= (table["score"] > table["high"]).mean() < 0.12


@pytest.mark.parametrize("name", ["learned positions, layer norm, biases", "norms after attention, soft caps",
                                  "latent attention, experts", "parallel blocks"])  # fmt: skip
def test_structures_have_scores_between_0_and_1(name: str) -> None:
    table = of_config(CONFIGS[name]).compositions().table
    assert len(table) == 4 * 4 * 3
    assert table["score"].between(0.001, 1).all()


def test_what_cannot_compose_is_refused(decoder: AttentionAnalyzer) -> None:
    with pytest.raises(errors.InputError, match="is in the first layer"):
        decoder.compositions(into="L0H1")
    with pytest.raises(errors.SelectionError, match="There is no layer 9"):
        decoder.compositions(into="L9H1")
    with pytest.raises(errors.UnsupportedModelError, match="outside of transformers' attention interface"):
        of_config(CONFIGS["attention of its own, parallel"]).compositions()
