"""How sure a mean over texts is: intervals by bootstrap, one-sided tests, and the level over many tests.

Texts are the unit: queries of one text are no independent draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 2000
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
    pairs = zip(t, size, strict=True)
    return np.array([t_tail(value, int(count) - 1) if count > 1 else np.nan for value, count in pairs])


def t_tail(t: float, freedom: int) -> float:
    """``P(T > t)`` for Student's t with whole degrees of freedom, by its finite series (Abramowitz & Stegun 26.7.3-4).

    Exact to about 1e-15, which is also the smallest value worth telling from zero.
    """
    angle = np.arctan(abs(t) / np.sqrt(freedom))
    cosine, sine = np.cos(angle), np.sin(angle)
    term, total = 1.0, 1.0
    if freedom % 2:
        # Odd: 2/π (θ + sin θ (cos θ + 2/3 cos³ θ + …)).
        for step in range(2, freedom - 1, 2):
            term *= step / (step + 1) * cosine**2
            total += term
        inside = 2 / np.pi * (angle + (sine * cosine * total if freedom > 1 else 0.0))
    else:
        # Even: sin θ (1 + 1/2 cos² θ + …).
        for step in range(1, freedom - 1, 2):
            term *= step / (step + 1) * cosine**2
            total += term
        inside = sine * total
    tail = max((1 - float(inside)) / 2, 0.0)
    return tail if t >= 0 else 1 - tail


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p of every test (Benjamini & Hochberg 1995): calling those at or below a level keeps the expected share
    of false calls below it. NaN stays NaN and counts as no test.
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])[::-1]]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * len(order) / ranks), 1)
    return adjusted


def mean_over_texts(values: Floats) -> Floats:
    """``[test]`` from ``[text, test]``, over the texts that say something; NaN where none does."""
    size = (~np.isnan(values)).sum(0)
    return np.divide(np.nan_to_num(values).sum(0), size, out=np.full(values.shape[1], np.nan), where=size > 0)
