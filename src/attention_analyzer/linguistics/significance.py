"""How sure an accuracy is, when its items come in sentences; and how sure the best of many heads is.

Words of one sentence are not independent draws, so sentences are the unit: variances are between sentences
(ratio estimator; Cochran 1977, §6.3), intervals are Wilson's with the effective number of items that this variance
leaves (Korn & Graubard 1998), and two predictors are compared sentence by sentence.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Two-sided 95 %.
Z = 1.959963984540054


def sums_by_sentence(values: NDArray[np.generic], sentence: NDArray[np.int64]) -> Floats:
    """Sums over each sentence's items: ``[sentence, …]`` from ``[item, …]``, for the sentences that have any."""
    if len(values) == 0:
        return np.zeros((0, *values.shape[1:]))
    order = np.argsort(sentence, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(sentence[order]) != 0])
    return np.add.reduceat(values[order].astype(np.float64), starts, axis=0)


def interval(correct: NDArray[np.bool_], sentence: NDArray[np.int64]) -> tuple[float, float]:
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


def better(correct: NDArray[np.bool_], baseline: NDArray[np.bool_], sentence: NDArray[np.int64]) -> Floats:
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
    p = 0.5 * torch.special.erfc(torch.from_numpy(z) / math.sqrt(2)).numpy()
    # All sentences differ by the same amount: no error can be estimated, and nothing is claimed.
    return np.where(error > 0, p, 1.0)


def holm(p: Floats) -> Floats:
    """Holm's (1979) step-down adjusted p: the chance of even one false claim stays below it."""
    flat = p.ravel()
    order = np.argsort(flat)
    stepped = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted.reshape(p.shape)


def benjamini_hochberg(p: Floats) -> Floats:
    """Benjamini & Hochberg's (1995) adjusted p: the expected share of false claims among those at or below it."""
    flat = p.ravel()
    order = np.argsort(flat)[::-1]
    ranks = np.arange(len(flat), 0, -1)
    stepped = np.minimum.accumulate(flat[order] * len(flat) / ranks)
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted.reshape(p.shape)
