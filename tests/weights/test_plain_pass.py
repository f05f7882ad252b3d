"""The blocked pass in PyTorch and stored weights, against the slow reference, on sites of every form.

(The compiled pass has the same tests in tests/kernels.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.weights import block
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.linear_reductions import DiagonalPart
from attention_analyzer.weights.reductions import (
    Axes,
    Distance,
    Entropy,
    GroupWeight,
    LargestWeight,
    MatchWeight,
    OffsetWeight,
    ReceivedWeight,
    Reduction,
    SmallestWeight,
    Statistics,
    StrongestKey,
    TotalWeight,
    WindowWeight,
)
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from tests import reference
from tests.kernels.sites import GROUPS, SiteCase, sites
from tests.property_tests import cases

MATCHES = tuple(MatchWeight(name, among) for name in ("few", "many") for among in ("all", "other", "earlier"))
ALL: tuple[Reduction, ...] = (
    Entropy(),
    LargestWeight(),
    SmallestWeight(),
    TotalWeight(),
    StrongestKey(),
    *(OffsetWeight(offset) for offset in (-3, -1, 0, 1, 100)),
    WindowWeight(0),
    WindowWeight(2),
    *(GroupWeight(name) for name in GROUPS),
    Distance(),
    ReceivedWeight(),
    *MATCHES,
)
NEEDS = needs_of(METRICS)
property_test = cases(40)


class Blocked(QueryKeyWeights):
    """Lazy weights that never take the compiled pass."""

    gather = AttentionWeights.gather


def rows(weights: AttentionWeights, text: int = 0) -> torch.Tensor:
    return weights.tile(text, slice(0, weights.heads), slice(0, weights.queries))


def stored(case: SiteCase) -> DenseWeights:
    """The same weights as numbers, in the model's float32."""
    lazy = QueryKeyWeights(case.source)
    return DenseWeights(torch.stack([rows(lazy, text) for text in range(lazy.batch)]), case.source.visibility)


def check_metrics(weights: AttentionWeights, case: SiteCase, tolerance: float) -> None:
    found = evaluate(weights.reduce(NEEDS, **case.frame), METRICS)
    for text in range(weights.batch):
        for head in range(weights.heads):
            expected = reference.metrics(case.head(text, head))
            for name, values in found.items():
                wanted = pytest.approx(expected[name], rel=tolerance, abs=tolerance, nan_ok=True)
                assert float(values[text, head]) == wanted, name


def check_same(found: Statistics, expected: Statistics, tolerance: float) -> None:
    assert torch.equal(found.valid, expected.valid)
    for reduction, values in expected.values.items():
        counts = expected.valid if reduction.axis == "query" else torch.tensor(True)
        result, wanted = (torch.where(counts, part, 0) for part in (found[reduction], values))
        torch.testing.assert_close(
            result, wanted, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda text, r=reduction: f"{r}: {text}"
        )


def as_double(case: SiteCase) -> SiteCase:
    source = case.source
    return replace(case, source=replace(source, query=source.query.double(), key=source.key.double()))


@property_test
@given(sites())
def test_tiles_equal_the_slow_reference(case: SiteCase) -> None:
    weights = QueryKeyWeights(case.source)
    for text in range(weights.batch):
        tiles = rows(weights, text)
        for head in range(weights.heads):
            np.testing.assert_allclose(tiles[head].numpy(), case.head(text, head).weights, rtol=1e-5, atol=1e-6)


@property_test
@given(sites())
def test_every_metric_equals_the_slow_reference(case: SiteCase) -> None:
    check_metrics(Blocked(case.source), case, 1e-5)


@property_test
@given(sites())
def test_every_metric_of_stored_weights_equals_the_slow_reference(case: SiteCase) -> None:
    check_metrics(stored(case), case, 1e-5)


@property_test
@given(sites(largest=9))
def test_a_model_in_float64_keeps_its_precision(case: SiteCase) -> None:
    check_metrics(QueryKeyWeights(as_double(case).source), case, 1e-10)


@property_test
@given(sites())
def test_labels_match_as_the_slow_reference_says(case: SiteCase) -> None:
    found = Blocked(case.source).reduce(MATCHES, **case.frame)
    for text in range(case.source.batch):
        for number in range(case.source.heads):
            head = case.head(text, number)
            for match in MATCHES:
                labels = [part[min(text, len(part) - 1)].tolist() for part in case.labels[match.labels]]
                expected = reference.match_weight(head, *labels, among=match.among)
                result = found[match][text, number]
                for i in head.rows:
                    assert float(result[i]) == pytest.approx(expected[i], rel=1e-5, abs=1e-6, nan_ok=True), match


@property_test
@given(sites(), st.sampled_from([1, 7, 60, 500, 4000]), st.sampled_from([(1, 1), (1, 3), (5, 5), (2, 1000)]))
def test_the_size_of_blocks_changes_nothing(case: SiteCase, cells: int, heights: tuple[int, int]) -> None:
    for weights in (Blocked(case.source), stored(case)):
        expected = weights.reduce(ALL, **case.frame)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block, "CELLS_ON_CPU", cells)
            patch.setattr(block, "FEWEST_ROWS", heights[0])
            patch.setattr(block, "MOST_ROWS", heights[1])
            check_same(weights.reduce(ALL, **case.frame), expected, 2e-6)


@property_test
@given(sites())
def test_stored_and_lazy_weights_say_the_same(case: SiteCase) -> None:
    check_same(stored(case).reduce(ALL, **case.frame), Blocked(case.source).reduce(ALL, **case.frame), 1e-5)


@property_test
@given(sites())
def test_a_text_says_the_same_alone_and_in_a_batch(case: SiteCase) -> None:
    together = QueryKeyWeights(case.source)
    whole = (slice(0, together.queries), slice(0, together.keys))
    for text in range(together.batch):
        assert torch.allclose(rows(together.select(text, *whole)), rows(together, text), atol=1e-6)
        assert torch.equal(rows(stored(case).select(text, *whole)), rows(stored(case), text))


@property_test
@given(sites())
def test_cutting_padding_off_changes_no_weight(case: SiteCase) -> None:
    if case.valid is None:
        return
    for weights in (QueryKeyWeights(case.source), stored(case)):
        for text in range(weights.batch):
            places = case.valid[text].nonzero()[:, 0].tolist()
            run = slice(places[0], places[-1] + 1)
            cut = weights.select(text, run, run)
            assert cut.shape == (weights.heads, len(places), len(places))
            assert torch.allclose(rows(cut), rows(weights, text)[:, run, run], atol=1e-6)


@property_test
@given(sites())
def test_visibility_answers_as_its_cells_do(case: SiteCase) -> None:
    seen = case.source.visibility
    cells = np.stack(
        [[case.sees(text, head) for head in range(case.source.heads)] for text in range(case.source.batch)]
    )
    everything = (slice(0, seen.queries), slice(0, seen.keys))
    told = seen.seen(*everything, slice(None), torch.device("cpu"))
    told = torch.ones(1, dtype=torch.bool) if told is None else told
    assert np.array_equal(np.broadcast_to(told.numpy(), cells.shape), cells)
    counts = seen.counts(torch.device("cpu"))
    assert np.array_equal(np.broadcast_to(counts.numpy(), cells.shape[:3]), cells.sum(-1))
    for start in range(seen.queries):
        run = slice(start, min(start + 3, seen.queries))
        keys = seen.key_range(run)
        outside = cells[:, :, run].copy()
        outside[..., keys] = False
        assert not outside.any()
        assert cells[:, :, run, keys.start : keys.start + seen.seen_by_all(run, keys)].all()


@property_test
@given(sites())
def test_the_caller_s_tensors_are_never_written_to(case: SiteCase) -> None:
    tensors = [case.source.query, case.source.key]
    before = [tensor.clone() for tensor in tensors]
    dense = stored(case)
    kept = dense.tensor.clone()
    for weights in (Blocked(case.source), QueryKeyWeights(case.source), dense):
        weights.reduce(ALL, **case.frame)
        weights.full().zero_()
    assert all(map(torch.equal, tensors, before))
    assert torch.equal(dense.tensor, kept)


def a_site() -> QueryKeyWeights:
    numbers = torch.Generator().manual_seed(2)
    query, key = torch.randn(1, 3, 5, 2, generator=numbers), torch.randn(1, 3, 7, 2, generator=numbers)
    from attention_analyzer.weights.scores import ScoreSource

    return QueryKeyWeights(ScoreSource(query, key, 0.7, Visibility(5, 7, upper=2)))


def test_weights_are_indexed_like_an_array() -> None:
    weights = a_site()
    full = weights.full()
    assert full.shape == weights.shape == (3, 5, 7)
    for index in (
        1,
        -1,
        (slice(1, 3), 2),
        (0, slice(None), -1),
        (2, slice(1, 4), slice(2, 6)),
        (slice(None), slice(4, 1)),
        (0, 0, slice(-3, None)),
    ):
        assert torch.equal(weights[index], full[index]), index


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (3, "There is no head 3: this site has 3"),
        ((0, 5), "There is no query 5"),
        ((0, 0, -8), "There is no key -8"),
        ((0, slice(None, None, 2)), "step is 2"),
        ((0, 0, 0, 0), "three axes"),
        ("a", "integer or a slice"),
        (True, "integer or a slice"),
    ],
)
def test_an_index_that_is_not_there_is_refused(index, said: str) -> None:
    with pytest.raises(SelectionError, match=said):
        a_site()[index]


def test_an_unknown_group_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="'digits'; the groups of this pass are: first"):
        a_site().reduce([GroupWeight("digits")], groups={"first": torch.ones(1, 7, dtype=torch.bool)})


def test_memory_is_linear_in_the_text() -> None:
    """A pass over 20,000 tokens with the weights never in memory, which would be 1.6 GB a head."""
    query = torch.randn(1, 1, 20_000, 4, generator=torch.Generator().manual_seed(0))
    from attention_analyzer.weights.scores import ScoreSource

    weights = Blocked(ScoreSource(query, query, 0.5, Visibility(20_000, 20_000, lower=-40, upper=0)))
    assert weights.nbytes == 2 * query.nbytes
    largest = max(found.weights.numel() for found in weights.blocks())
    assert largest <= block.CELLS_ON_CPU
    assert weights.reduce([TotalWeight()]).mean(TotalWeight()).item() == pytest.approx(1)


@pytest.mark.parametrize("far", [10**6, 10**9, -(10**9), 2**70])
def test_what_is_built_is_bounded_by_the_text(far: int) -> None:
    matrix = torch.rand(1, 2, 5, 5).tril()
    lazy = QueryKeyWeights(ScoreSource(torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4), 0.5, Visibility(5, 5)))
    for weights in (DenseWeights(matrix / matrix.sum(-1, keepdim=True), Visibility(5, 5)), lazy):
        offsets = (OffsetWeight(0), OffsetWeight(far), OffsetWeight(-4), OffsetWeight(4))
        found = weights.reduce([*offsets, WindowWeight(abs(far)), TotalWeight()])
        assert found[OffsetWeight(far)].isnan().all()
        full = weights.full()[None]
        torch.testing.assert_close(found[OffsetWeight(0)], full.diagonal(dim1=-2, dim2=-1))
        torch.testing.assert_close(found[OffsetWeight(-4)][..., 4], full[..., 4, 0])
        torch.testing.assert_close(found[OffsetWeight(4)][..., 0], full[..., 0, 4])
        torch.testing.assert_close(found[WindowWeight(abs(far))], full.sum(-1))


@pytest.mark.parametrize("width", [0, 3, 8, 9, 40, 99, 500])
def test_windows_of_any_width(width: int) -> None:
    class Blocked(QueryKeyWeights):
        gather = AttentionWeights.gather

    source = ScoreSource(torch.randn(1, 3, 100, 4), torch.randn(1, 3, 100, 4), 0.5, Visibility(100, 100, upper=0))
    found = Blocked(source).reduce([WindowWeight(width), OffsetWeight(-1)])
    full, place = Blocked(source).full(), torch.arange(100)
    inside = (place - place[:, None]).abs() <= width
    torch.testing.assert_close(found[WindowWeight(width)], (full * inside).sum(-1)[None])


def test_offsets_that_lie_far_apart_take_no_room_between_them() -> None:
    size = 20_000
    counts = torch.full((1, 1, size), size)
    axes = Axes(1, 1, size, size, 0, valid=torch.ones(1, size, dtype=torch.bool), visible=counts)
    part = DiagonalPart([OffsetWeight(0), OffsetWeight(-19_000), WindowWeight(15_000)], axes, torch.zeros(1))
    assert part.strip.numel() == 2 * size
