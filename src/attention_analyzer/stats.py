"""Statistics over texts: intervals, one-sided tests and corrections for many tests, by SciPy where it has them.

Texts are the unit: queries of one text are no independent draws, nor are words of one sentence. So variances are
between sentences (ratio estimator; Cochran 1977, §6.3), intervals of a share are Wilson's with the effective number of
items that this variance leaves (Korn & Graubard 1998), and two predictors are compared sentence by sentence.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]
DRAWS = 2000
#: Two-sided 95 % of the normal distribution.
Z = float(ndtri(0.975))
#: Texts whose strengths agree more closely than this are no evidence that the next one will.
SMALLEST_SPREAD = 0.01


def bootstrap_interval(values: Floats, draws: int = DRAWS, seed: int = 0) -> tuple[Floats, Floats]:
    """95 % percentile intervals of the means over texts (Efron & Tibshirani 1993, §13.3).

    Args:
        values: ``[text, test]``; NaN where a text says nothing.

    Returns:
        Lower and upper ends, ``[test]``; NaN for tests with fewer than two texts.
    """
    texts = len(values)
    counts = np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), size=draws).astype(np.float64)
    known = ~np.isnan(values)
    size = counts @ known
    means = np.divide(counts @ np.nan_to_num(values), size, out=np.full(size.shape, np.nan), where=size > 0)
    low, high = np.full((2, values.shape[1]), np.nan)
    enough = known.sum(0) > 1
    if enough.any():
        low[enough], high[enough] = np.nanpercentile(means[:, enough], (2.5, 97.5), axis=0)
    return low, high


def p_above(values: Floats, bound: float) -> Floats:
    """One-sided p that the mean over texts is not above a bound (Student's t): ``[test]`` from ``[text, test]``.

    NaN where fewer than two texts say something. The spread is never taken to be below :data:`SMALLEST_SPREAD`.
    """
    known = ~np.isnan(values)
    size = known.sum(0)
    enough = size > 1
    filled = np.nan_to_num(values)
    mean = np.divide(filled.sum(0), size, out=np.zeros(len(size)), where=size > 0)
    squares = (np.where(known, filled - mean, 0) ** 2).sum(0)
    spread = np.sqrt(np.divide(squares, size - 1, out=np.zeros(len(size)), where=enough))
    error = np.maximum(spread, SMALLEST_SPREAD) / np.sqrt(np.maximum(size, 1))
    t = (mean - bound) / error
    return np.where(enough, stdtr(np.maximum(size - 1, 1), -t), np.nan)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: half the width of a two-sided 95 % interval, in standard errors."""
    return float(stdtrit(freedom, 0.975))


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p of every test (Benjamini & Hochberg 1995): calling those at or below a level keeps the expected share
    of false calls below it. NaN stays NaN and counts as no test.
    """
    from scipy.stats import false_discovery_control

    adjusted = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = false_discovery_control(p[known])
    return adjusted


def holm(p: Floats) -> Floats:
    """Holm's (1979) step-down adjusted p: the chance of even one false claim stays below it."""
    flat = p.ravel()
    order = np.argsort(flat)
    stepped = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted.reshape(p.shape)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation, ties by mean rank; NaN where one of the two does not vary."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (one, other)]
    size = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / size if size > 0 else float("nan")


def mean_over_texts(values: Floats) -> Floats:
    """``[test]`` from ``[text, test]``, over the texts that say something; NaN where none does."""
    size = (~np.isnan(values)).sum(0)
    return np.divide(np.nan_to_num(values).sum(0), size, out=np.full(values.shape[1], np.nan), where=size > 0)


def sums_by_sentence(values: NDArray[np.generic], sentence: NDArray[np.int64]) -> Floats:
    """Sums over each sentence's items: ``[sentence, …]`` from ``[item, …]``, for the sentences that have any."""
    if len(values) == 0:
        return np.zeros((0, *values.shape[1:]))
    order = np.argsort(sentence, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(sentence[order]) != 0])
    return np.add.reduceat(values[order].astype(np.float64), starts, axis=0)


def share_interval(correct: NDArray[np.bool_], sentence: NDArray[np.int64]) -> tuple[float, float]:
    """95 % interval of the share of correct items, NaN where there are none."""
    count = len(correct)
    if count == 0:
        return math.nan, math.nan
    share = float(correct.mean())
    hits, sizes = sums_by_sentence(correct, sentence), sums_by_sentence(np.ones(count), sentence)
    effective = float(count)
    groups = len(sizes)
    if 0 < share < 1 and groups > 1:
        variance = groups / (groups - 1) * float(((hits - share * sizes) ** 2).sum()) / count**2
        if variance > 0:
            # Never more than the items there are: a lucky spread is no extra evidence.
            effective = min(effective, share * (1 - share) / variance)
    else:
        effective = float(groups)
    return wilson(share, effective)


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's score interval (1927) for a share of ``count`` items, 95 %."""
    middle = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def p_better(correct: NDArray[np.bool_], baseline: NDArray[np.bool_], sentence: NDArray[np.int64]) -> Floats:
    """One-sided p that each predictor is no better than a baseline: ``[head]``.

    The sum of the differences over its standard error, each sentence one draw; normal in the limit of many sentences.

    Args:
        correct: bool ``[item, head]``; ``baseline``: bool ``[item]`` on the same items.
    """
    difference = sums_by_sentence(correct.astype(np.int8) - baseline[:, None].astype(np.int8), sentence)
    total, groups = difference.sum(0), len(difference)
    if groups < 2:
        return np.ones(correct.shape[1])
    error = np.sqrt(groups / (groups - 1) * ((difference - total / groups) ** 2).sum(0))
    z = np.divide(total, error, out=np.zeros_like(total), where=error > 0)
    # All sentences differ by the same amount: no error can be estimated, and nothing is claimed.
    return np.where(error > 0, ndtr(-z), 1.0)
