"""Intervals, tests and levels against SciPy and against repeated draws with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attention_analyzer.stats import (
    SMALLEST_SPREAD,
    benjamini_hochberg,
    bootstrap_interval,
    mean_over_texts,
    p_above,
)


def test_one_sided_p_is_scipy_s() -> None:
    values = np.random.default_rng(0).normal(0.55, 0.2, (7, 11))
    values[2, 4] = np.nan
    found = p_above(values, 0.5)
    for column in range(11):
        known = values[:, column][~np.isnan(values[:, column])]
        assert found[column] == pytest.approx(stats.ttest_1samp(known, 0.5, alternative="greater").pvalue, rel=1e-6)


def test_one_text_is_no_evidence() -> None:
    values = np.array([[0.9, np.nan], [np.nan, np.nan]])
    assert np.isnan(p_above(values, 0.5)).all()
    assert all(np.isnan(end).all() for end in bootstrap_interval(values))
    assert mean_over_texts(values)[0] == pytest.approx(0.9)
    assert np.isnan(mean_over_texts(values)[1])


def test_texts_that_agree_exactly_do_not_make_certainty() -> None:
    p = p_above(np.full((3, 1), 0.51), 0.5)[0]
    assert p == pytest.approx(stats.t.sf(0.01 / (SMALLEST_SPREAD / np.sqrt(3)), 2), rel=1e-6)
    assert p > 0.05


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draw = np.random.default_rng(1)
    values = draw.beta(2, 5, (25, 400))
    low, high = bootstrap_interval(values)
    assert 0.90 < np.mean((low <= 2 / 7) & (high >= 2 / 7)) < 0.98


@pytest.mark.parametrize("texts", [5, 20])
@pytest.mark.parametrize("shape", [(5, 5), (1, 1), (8, 8)])
def test_the_level_is_kept_where_strengths_lie_exactly_at_the_threshold(texts: int, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(2).beta(*shape, (texts, 4000))
    assert np.mean(p_above(values, 0.5) <= 0.05) < 0.06


def test_benjamini_hochberg_is_scipy_s() -> None:
    p = np.random.default_rng(3).uniform(size=31) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p), rel=1e-12)
    with_gap = np.insert(p, 5, np.nan)
    found = benjamini_hochberg(with_gap)
    assert np.isnan(found[5])
    assert np.delete(found, 5) == pytest.approx(stats.false_discovery_control(p), rel=1e-12)
