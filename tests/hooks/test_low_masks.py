"""Rows in which a mask adds a low finite number to every key: softmax takes it off again, and the query attends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attention_analyzer as aa
from attention_analyzer.errors import UnsupportedModelError
from tests.hooks.small import make, words

TOKENS, LOW_ROW, HEADS = 7, 3, 6
LOWEST = torch.finfo(torch.float32).min


def _mask(kind: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """``[2, 1, query, key]``: the last two keys hidden, and one row with nothing but low numbers."""
    low = max({"dtype's minimum": LOWEST, "-1e9": -1e9, "-1e4": -1e4, "mixed": -1e4}[kind], torch.finfo(dtype).min)
    mask = torch.zeros(2, 1, TOKENS, TOKENS, dtype=dtype)
    mask[..., -2:] = low
    mask[:, :, LOW_ROW] = low
    if kind == "mixed":
        mask[:, :, LOW_ROW, 2:] = torch.finfo(dtype).min
    return mask


def _own_weights(form: str, mask: Tensor) -> list[Tensor]:
    """What the model itself computes, ``[text, head, query, key]`` per layer."""
    model = make(form, "eager").to(mask.dtype)
    with torch.no_grad():
        outputs = model(input_ids=words(2, TOKENS), attention_mask=mask, output_attentions=True)
    return list(outputs.attentions)


@pytest.mark.parametrize("kind", ["dtype's minimum", "-1e9", "-1e4", "mixed"])
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("form", ["encoder", "grouped queries"])
def test_a_row_of_low_numbers_has_the_models_own_weights(form: str, backend: str, kind: str) -> None:
    mask = _mask(kind)
    records = aa.AttentionAnalyzer(make(form, backend)).record(
        inputs={"input_ids": words(2, TOKENS), "attention_mask": mask}
    )
    shown = 5 if kind == "mixed" else TOKENS  # the low row attends to keys that no other sees
    for layer, own in enumerate(_own_weights(form, mask)):
        for text, record in enumerate(records):
            weights = record.entries[layer].weights
            assert weights.shape == (HEADS, shown, shown)
            expected = own[text][:, :shown, :shown]
            assert torch.allclose(weights.tile(0, slice(0, HEADS), slice(0, shown)), expected, atol=1e-5)
            entropy = torch.special.entr(expected).sum(-1).mean(-1)
            table = record.heads().query(f"layer == {layer}")
            assert np.allclose(table["entropy"], entropy, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_rounds_the_scores_of_such_a_row_away(dtype: torch.dtype) -> None:
    mask = _mask("dtype's minimum", dtype)
    record = aa.AttentionAnalyzer(make("encoder", "eager").to(dtype)).record(
        inputs={"input_ids": words(2, TOKENS), "attention_mask": mask}
    )[0]
    row = record.entries[0].weights.tile(0, slice(0, HEADS), slice(LOW_ROW, LOW_ROW + 1))
    assert torch.allclose(row, torch.full_like(row, 1 / TOKENS), atol=1e-6)


def test_minus_infinity_hides_a_row() -> None:
    mask = _mask("dtype's minimum").masked_fill(_mask("dtype's minimum") < 0, -torch.inf)
    with aa.capture(make("encoder", "sdpa")) as captured, torch.no_grad():
        hidden = torch.randn(2, TOKENS, 24, generator=torch.Generator().manual_seed(4))
        captured.loaded.model.encoder(hidden, attention_mask=mask)
    row = captured.records[0].entries[0].weights.tile(0, slice(0, HEADS), slice(LOW_ROW, LOW_ROW + 1))
    assert not row.any()


def test_of_padding_queries_nothing_is_kept() -> None:
    """Left padding leaves rows with nothing to see, which do not cost a plane of weights."""
    ids, real = words(2, TOKENS), torch.ones(2, TOKENS, dtype=torch.long)
    real[1, :3] = 0
    records = aa.AttentionAnalyzer(make("learned positions", "eager")).record(
        inputs={"input_ids": ids, "attention_mask": real}
    )
    assert [record.entries[0].weights.shape[1:] for record in records] == [(7, 7), (4, 4)]
    for record in records:
        assert record.entries[0].weights.source.bias is None
        assert record.entries[0].weights.visibility.mask is None


class _Unmasked(nn.Module):
    """Attends to whatever it is given, and takes no notice of a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(61, 24), nn.Linear(24, 72)
        self.num_heads = 6

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        split = self.mix(self.embed(input_ids)).unflatten(-1, (18, 4)).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(*split.chunk(3, 1))


def test_a_model_that_attends_to_padding_is_refused() -> None:
    """Without its padding the rows would sum to less than they do."""
    real = torch.ones(2, TOKENS, dtype=torch.long)
    real[1, 5:] = 0
    analyzer = aa.AttentionAnalyzer(_Unmasked().eval())
    with pytest.raises(UnsupportedModelError, match="Tokens of text 1 attend to its padding"):
        analyzer.record(inputs={"input_ids": words(2, TOKENS), "attention_mask": real})


@pytest.mark.parametrize(("low", "even"), [(LOWEST, True), (-1e4, False)])
def test_low_rows_of_queries_and_keys_from_elsewhere(low: float, even: bool) -> None:
    numbers = torch.Generator().manual_seed(2)
    queries, keys = (torch.randn(2, 5, 4, generator=numbers) for _ in range(2))
    bias = torch.zeros(5, 5)
    bias[2] = low
    bias[:, 4] = low
    record = aa.AttentionRecord.from_queries_and_keys([queries], [keys], list("abcde"), causal=True, bias=bias)
    scores = (queries @ keys.transpose(1, 2) / 2 + bias).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    weights = record.entries[0].weights.tile(0, slice(0, 2), slice(0, 5))
    assert torch.allclose(weights, scores.softmax(-1), atol=1e-6)
    assert torch.allclose(weights[:, 2, :3], torch.tensor(1 / 3), atol=1e-4) == even
