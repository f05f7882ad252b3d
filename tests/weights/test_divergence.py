"""Jensen–Shannon divergence of heads: against a slow loop, over units of tokens, and at its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from attention_analyzer.errors import InputError
from attention_analyzer.weights import divergence
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.divergence import divergence_by_row, divergence_of_all, rows_of
from attention_analyzer.weights.visibility import Visibility


def weights(heads: int, queries: int, keys: int, seed: int, total: float = 1.0) -> DenseWeights:
    values = torch.randn(1, heads, queries, keys, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(-1)
    return DenseWeights(values * total, Visibility(queries, keys))


def slow(p: list[float], q: list[float]) -> float:
    p, q = [*p, 1 - sum(p)], [*q, 1 - sum(q)]
    found = 0.0
    for a, b in zip(p, q, strict=True):
        for own, weight in ((a, 0.5), (b, 0.5)):
            if own > 1e-12:
                found += weight * own * math.log(own / ((a + b) / 2))
    return found


@pytest.mark.parametrize("cells", [1 << 22, 60])
def test_every_pair_of_heads_and_every_row_agree_with_a_slow_loop(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "_CELLS", cells)
    first, second = weights(3, 5, 7, 0), weights(2, 5, 7, 1, total=0.8)
    expected = np.array(
        [[[slow(first[a, i].tolist(), second[b, i].tolist()) for i in range(5)] for b in range(2)] for a in range(3)]
    )
    assert divergence_of_all(rows_of(first), rows_of(second)).numpy() == pytest.approx(expected.mean(-1), abs=1e-5)
    pairs = [(2, 0), (0, 1)]
    by_row = divergence_by_row(rows_of(first), rows_of(second), pairs)
    assert by_row.numpy() == pytest.approx(np.stack([expected[2, 0], expected[0, 1]]), abs=1e-5)


def test_it_is_zero_for_the_same_and_log_two_for_heads_that_share_no_key() -> None:
    one = torch.zeros(1, 1, 3, 4)
    other = one.clone()
    one[..., 0], other[..., 3] = 1, 1
    seen = Visibility(3, 4)
    same, apart = (rows_of(DenseWeights(values, seen)) for values in (one, other))
    assert float(divergence_of_all(same, same)) == 0
    assert float(divergence_of_all(same, apart)) == pytest.approx(math.log(2))


def test_units_average_queries_add_keys_and_leave_the_others_to_the_rest() -> None:
    values = weights(2, 4, 5, 3)
    rows = rows_of(values, queries=[(0,), (1, 3)], keys=[(4,), (0, 1)]).read(slice(0, 2))
    full = values.full()
    by_query = torch.stack([full[:, 0], (full[:, 1] + full[:, 3]) / 2], dim=1)
    expected = torch.stack([by_query[..., 4], by_query[..., 0] + by_query[..., 1]], dim=-1)
    assert torch.allclose(rows[..., :2], expected)
    assert torch.allclose(rows[..., 2], 1 - expected.sum(-1), atol=1e-6)


def test_other_rows_or_cells_are_refused() -> None:
    with pytest.raises(InputError, match="align"):
        divergence_of_all(rows_of(weights(1, 3, 4, 0)), rows_of(weights(1, 3, 5, 0)))
