"""Summaries: any split of the texts gives what the whole gives; held against sorting and the textbook's formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_analyzer.corpus.running_stats import Moments
from attention_analyzer.corpus.top_k import Strongest
from attention_analyzer.stats import t_quantile

TEXTS, QUANTITIES = 23, 5


def values_of(seed: int, ties: bool) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = draw.random((TEXTS, QUANTITIES)).astype(np.float32)
    values = np.round(values, 1) if ties else values
    values[draw.random(values.shape) < 0.2] = np.nan
    values[:, 3] = np.nan  # a measure without a meaning anywhere
    return values


def slow_best(values: np.ndarray, most: int) -> list[list[tuple[float, int]]]:
    best = []
    for column in values.T:
        known = [(float(value), text) for text, value in enumerate(column) if not math.isnan(value)]
        best.append(sorted(known, key=lambda each: (-each[0], each[1]))[:most])
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, TEXTS), max_size=4), st.integers(0, 29), st.booleans())
def test_any_split_equals_the_whole(seed: int, cuts: list[int], most: int, ties: bool) -> None:
    values = values_of(seed, ties)
    numbers = np.arange(TEXTS)
    at = np.stack([np.arange(TEXTS)[:, None] + np.zeros((1, QUANTITIES), int), np.full((TEXTS, QUANTITIES), 7)], -1)
    at = at.astype(np.int32)
    moments, best = Moments.empty((QUANTITIES,)), Strongest.empty(QUANTITIES, most)
    edges = [0, *sorted(cuts), TEXTS]
    parts = list(pairwise(edges))
    np.random.default_rng(seed).shuffle(parts)  # in any order
    for start, stop in parts:
        part = slice(start, stop)
        moments = moments.merge(Moments.of(values[part]))
        best = Strongest.of(values[part], numbers[part], most, at[part]).merge(best)
    whole, sorted_whole = Moments.of(values), Strongest.of(values, numbers, most, at)
    for name in ("count", "smallest", "largest"):
        assert np.array_equal(getattr(moments, name), getattr(whole, name))
    assert np.allclose(moments.total, whole.total, rtol=1e-13)
    assert np.allclose(moments.spread, whole.spread, rtol=1e-9, equal_nan=True)
    for name in ("value", "text", "at"):
        assert np.array_equal(getattr(best, name), getattr(sorted_whole, name)), name
    for quantity, expected in enumerate(slow_best(values, most)):
        count = len(expected)
        assert best.text[quantity].tolist() == [text for _, text in expected] + [-1] * (most - count)
        assert best.value[quantity, :count].tolist() == [value for value, _ in expected]
        assert best.at[quantity, :count, 0].tolist() == [text for _, text in expected]


def test_means_and_intervals_are_the_textbooks() -> None:
    values = np.array([[0.2, 1], [0.5, np.nan], [0.9, np.nan], [0.4, np.nan]], dtype=np.float32)
    moments = Moments.of(values)
    known = values[:, 0].astype(float)
    assert moments.count.tolist() == [4, 1]
    assert moments.mean[0] == pytest.approx(known.mean())
    assert moments.spread[0] == pytest.approx(known.std(ddof=1))
    low, high = moments.interval
    # t for three degrees of freedom is 3.1824 (any table).
    assert high[0] - known.mean() == pytest.approx(3.18245 * known.std(ddof=1) / 2, rel=1e-5)
    assert known.mean() - low[0] == pytest.approx(high[0] - known.mean())
    assert np.isnan([moments.spread[1], low[1], high[1]]).all()
    nothing = Moments.of(np.full((3, 1), np.nan))
    assert np.isnan(nothing.mean).all()


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (1, 12.7062),
        (2, 4.30265),
        (5, 2.57058),
        (30, 2.04227),
        (40, 2.02108),
        (41, 2.01954),
        (60, 2.00030),
        (999, 1.96234),
    ],
)
def test_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=6e-6 * quantile)


def test_intervals_cover_the_truth() -> None:
    draw = np.random.default_rng(0)
    low, high = Moments.of(draw.beta(2, 5, (12, 4000))).interval
    assert 0.93 <= np.mean((low <= 2 / 7) & (high >= 2 / 7)) <= 0.97
