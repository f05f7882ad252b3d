"""ALTI, ALTI-Logit and value zeroing against plain loops over a model's own weights, and contrasted targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.attribution import alti as alti_module
from attention_analyzer.attribution import value_zeroing
from attention_analyzer.attribution.alti import mixing
from attention_analyzer.attribution.context import ask
from tests.attribution.cases import AT_SIGNAL, planted

TEXT = "Tom saw a red bird. Sue saw a"


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.fixture(scope="module")
def encoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-encoder", cache=False)


def shares(parts: Tensor) -> Tensor:
    """``[query, key]`` of vectors ``[key, query, channel]``, normalized."""
    whole = parts.sum(0)
    size = whole.abs().sum(-1)
    close = torch.stack([(size - (whole - part).abs().sum(-1)).clamp(min=0) for part in parts]).T
    return close / close.sum(1, keepdim=True)


def test_shares_of_a_model_with_norms_before_attention(decoder: AttentionAnalyzer) -> None:
    """``T_j`` is Σ_h a_ij W_O v_j, and for a token itself the residual connection, too."""
    model: Any = decoder.model
    asked = ask(decoder.loaded, TEXT)
    kept: dict[str, Tensor] = {}
    handles = []
    for layer in range(5):
        block = model.model.layers[layer]
        handles.append(block.register_forward_pre_hook(lambda _, given, n=layer: kept.update({f"x{n}": given[0][0]})))
        value = block.self_attn.v_proj
        handles.append(value.register_forward_hook(lambda _, __, made, n=layer: kept.update({f"v{n}": made[0]})))
    with torch.no_grad():
        model(**asked.inputs)
    for handle in handles:
        handle.remove()
    width = model.config.head_dim
    rolled = torch.eye(len(asked.tokens), dtype=torch.double)
    for layer, at in enumerate(mixing(asked).sites):
        weights = decoder.record(TEXT).entry(layer).weights.full().double()
        out = model.model.layers[layer].self_attn.o_proj.weight.detach().double()
        parts = 0
        for head in range(6):
            group, own = head // 2, slice(head * width, (head + 1) * width)
            value = kept[f"v{layer}"][:, group * width : (group + 1) * width].double()
            parts = parts + weights[head].T[:, :, None] * (value @ out[:, own].T)[:, None]
        own_parts: Any = parts
        for token in range(len(asked.tokens)):
            own_parts[token, token] += kept[f"x{layer}"][token].double()
        by_hand = shares(own_parts)
        torch.testing.assert_close(at.moves, by_hand, atol=1e-5, rtol=1e-4)
        assert float(at.stays.abs().max()) == 0
        rolled = by_hand @ rolled
    found = decoder.token_importance(TEXT, "alti")
    np.testing.assert_allclose(found.raw, rolled[-1].numpy(), atol=1e-5)
    assert sum(found.raw) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["demo-encoder", "demo-translator"])
def test_every_row_of_a_layer_sums_to_one(name: str) -> None:
    analyzer = AttentionAnalyzer(name, cache=False)
    asked = ask(analyzer.loaded, "today is monday" if name == "demo-translator" else "The dog [MASK] home.")
    layers: dict[str, Tensor] = {}
    for at in reversed(mixing(asked).sites):
        before = layers.pop(at.site.module.rpartition(".")[0], 1.0)
        rest = before * at.stays
        total = rest + before * at.moves.sum(1)
        torch.testing.assert_close(total, torch.ones_like(total) * before, atol=1e-9, rtol=0)


def test_alti_logit_sums_to_what_heads_add(decoder: AttentionAnalyzer) -> None:
    found = decoder.token_importance(TEXT, "alti_logit", target="next=big")
    effects = decoder.effects(TEXT, target="big")
    heads = effects.heads()["effect"].sum()
    assert found.notes["added_by_heads"] == pytest.approx(heads, abs=1e-3)
    assert sum(found.raw) == pytest.approx(heads, abs=1e-3)
    assert found.notes["target"] == pytest.approx(effects.logit, abs=1e-4)
    one = decoder.token_importance(TEXT, "alti_logit", target="next=big!=red")
    other = decoder.token_importance(TEXT, "alti_logit", target="next=red")
    np.testing.assert_allclose(np.array(found.raw) - other.raw, one.raw, atol=1e-4)


def test_value_zeroing_by_hand(encoder: AttentionAnalyzer) -> None:
    """Zero a token's values in one layer with a hook of torch's own, and compare what the layer returns."""
    text = "The dog [MASK] home."
    model: Any = encoder.model
    asked = ask(encoder.loaded, text)
    size = len(asked.tokens)
    rolled = torch.eye(size, dtype=torch.double)
    for layer in model.bert.encoder.layer:
        kept: list[Tensor] = []

        def keep(_: Any, __: Any, made: Any, kept: list[Tensor] = kept) -> None:
            kept.append((made[0] if isinstance(made, tuple) else made)[0].double())

        handle = layer.register_forward_hook(keep)

        def zeroed(_: Any, __: Any, made: Tensor, token: int) -> Tensor:
            made = made.clone()
            made[:, token] = 0
            return made

        with torch.no_grad():
            model(**asked.inputs)
            for token in range(size):
                value = layer.attention.self.value
                inner = value.register_forward_hook(lambda _, __, made, at=token: zeroed(_, __, made, at))
                model(**asked.inputs)
                inner.remove()
        handle.remove()
        moved = torch.stack([1 - cosine_similarity(each, kept[0], dim=-1) for each in kept[1:]]).T
        rolled = moved / moved.sum(1, keepdim=True) @ rolled
    found = encoder.token_importance(text, "value_zeroing")
    np.testing.assert_allclose(found.raw, rolled[asked.target.at].numpy(), atol=1e-4)


@pytest.mark.parametrize("method", ["alti", "alti_logit", "value_zeroing"])
def test_what_the_planted_model_reads_is_found(method: str) -> None:
    """Methods that look at vectors see that nothing comes from the decoy that every head looks at."""
    found = planted().token_importance("the dog saw how one cat ran home", method, target="class")
    assert max(range(1, len(found) - 1), key=found.raw.__getitem__) == AT_SIGNAL


def test_limits_are_said(encoder: AttentionAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alti_module, "MOST_TOKENS", 4)
    monkeypatch.setattr(value_zeroing, "MOST_FORWARDS", 20)
    for name in ("alti", "alti_logit"):
        with pytest.raises(errors.TooLongError, match="the limit is 4"):
            encoder.token_importance(TEXT, name, target="pooled")
    with pytest.raises(errors.TooLongError, match="once per token and layer"):
        encoder.token_importance(TEXT, "value_zeroing", target="pooled")


def test_contrasted_targets(decoder: AttentionAnalyzer, encoder: AttentionAnalyzer) -> None:
    asked = ask(decoder.loaded, TEXT, "next=big!=red")
    assert asked.target.label == "the next token, 'big', rather than 'red'"
    with torch.no_grad():
        outputs = decoder.model(**asked.inputs)
    row = outputs.logits[0, -1]
    big, red = (ask(decoder.loaded, TEXT, f"next={word}").target.entry for word in ("big", "red"))
    assert float(asked.target.values(outputs, asked.whole)) == pytest.approx(float(row[big] - row[red]), abs=1e-5)
    of_two = float(row[[big, red]].softmax(0)[0])
    assert float(asked.target.measures(outputs, asked.whole)) == pytest.approx(of_two, abs=1e-5)
    assert ask(decoder.loaded, TEXT, "next!=red").target.label.endswith("rather than 'red'")
    masked = ask(encoder.loaded, "The dog [MASK] home.", "mask=ran!=went").target
    assert masked.label == "'ran' in place of the mask at 3, rather than 'went'"
    klass = planted().token_importance("one cat ran", "gradient_attention", target="class=cat!=no cat")
    assert klass.target == "the class 'cat', rather than 'no cat'"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("next=big!=big", "contrasted with itself"),
        ("sequence!=red", "takes no '!=red'"),
        ("next!=unbelievable cats", "is not one token"),
    ],
)
def test_contrasts_that_cannot_be_are_refused(decoder: AttentionAnalyzer, target: str, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        decoder.token_importance(TEXT, "received", target=target)
