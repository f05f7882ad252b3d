"""Sums by runs of tokens and by distance: the plain and the compiled pass against the slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer.weights import block
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.cpu import fused
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import DistanceSums, Reduction, RunSums
from tests.kernels.sites import SiteCase, long_case, sites
from tests.weights.test_plain_pass import property_test, stored

GROUP = "special"
EDGES = (-40, -3, 0, 1, 2, 5, 40)


class Blocked(QueryKeyWeights):
    gather = AttentionWeights.gather


def runs(case: SiteCase, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of queries and keys that never fall; a query in four is in no run."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in (case.source.queries, case.source.keys):
        steps = torch.rand(case.source.batch, size, generator=generator) < 0.3
        made.append(steps.long().cumsum(-1))
    made[0] = made[0].masked_fill(torch.rand(made[0].shape, generator=generator) < 0.25, -1)
    return made[0], made[1]


def expected(case: SiteCase, labels: tuple[torch.Tensor, torch.Tensor], reduction: Reduction) -> np.ndarray:
    """One head, row and key at a time."""
    assert isinstance(reduction, (RunSums, DistanceSums))
    of_queries, of_keys = (part.numpy() for part in labels)
    shape = (max(of_queries.max() + 1, 0), of_keys.max() + 1) if isinstance(reduction, RunSums) else (len(EDGES) - 1,)
    result = np.zeros((case.source.batch, case.source.heads, *shape))
    for text in range(case.source.batch):
        for number in range(case.source.heads):
            head = case.head(text, number)
            for i in head.rows:
                row = head.weights[i].copy()
                if of_queries[text, i] < 0:
                    continue
                if reduction.without:
                    row[head.groups[reduction.without]] = 0
                    row = row / row.sum() if row.sum() > 0 else row
                for j, weight in enumerate(row):
                    if isinstance(reduction, RunSums):
                        result[text, number, of_queries[text, i], of_keys[text, j]] += weight
                    else:
                        bins = np.searchsorted(EDGES, i + (case.diagonal or 0) - j, side="right") - 1
                        if 0 <= bins < len(EDGES) - 1:
                            result[text, number, bins] += weight
    return result.reshape(case.source.batch, case.source.heads, -1)


def requests(case: SiteCase) -> list[Reduction]:
    wanted: list[Reduction] = [RunSums("runs"), RunSums("runs", GROUP)]
    if case.diagonal is not None:
        wanted += [DistanceSums(EDGES, "runs"), DistanceSums(EDGES, "runs", GROUP)]
    return wanted


@property_test
@given(sites(), st.integers(0, 99), st.sampled_from([7, 500, 1 << 20]))
def test_sums_equal_the_slow_reference(case: SiteCase, seed: int, cells: int) -> None:
    labels = runs(case, seed)
    frame = case.frame | {"labels": {"runs": labels}}
    wanted = requests(case)
    passes = [Blocked(case.source), stored(case)]
    if fused.why_not(case.source, wanted) is None:
        passes.append(QueryKeyWeights(case.source))
    for weights in passes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block, "CELLS_ON_CPU", cells)
            patch.setattr(block, "FEWEST_ROWS", 2)
            found = weights.reduce(wanted, **frame)
        for reduction in wanted:
            np.testing.assert_allclose(
                found[reduction].numpy(),
                expected(case, labels, reduction),
                rtol=1e-4,
                atol=2e-5,
                err_msg=str(reduction),
            )


def test_pieces_of_a_long_site_are_put_together() -> None:
    case = long_case(1500, upper=0)
    labels = runs(case, 3)
    frame = case.frame | {"labels": {"runs": labels}}
    wanted = requests(case)
    assert fused.why_not(case.source, wanted) is None
    found, plain = QueryKeyWeights(case.source).reduce(wanted, **frame), Blocked(case.source).reduce(wanted, **frame)
    for reduction in wanted:
        torch.testing.assert_close(found[reduction], plain[reduction], rtol=1e-4, atol=1e-4)


def test_all_weight_is_somewhere() -> None:
    case = long_case(1500, upper=0)
    sizes = case.source.queries, case.source.keys
    labels = tuple((torch.arange(size) // 50)[None] for size in sizes)
    found = QueryKeyWeights(case.source).reduce([RunSums("runs")], **case.frame | {"labels": {"runs": labels}})
    total = found[RunSums("runs")].sum(-1)
    torch.testing.assert_close(total, torch.full_like(total, float(found.valid.sum())), rtol=1e-5, atol=1e-3)
