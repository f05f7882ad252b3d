"""Receiver heads: heads in which a few parts are attended to by much of what follows (Bogdan et al. 2025).

A part's score in a head is the mean weight, without sinks, that later parts put on it; parts that follow closely are
left out, since every head attends to what is near. A head is a receiver if its scores are more peaked (kurtosis) than
those of the same weights dealt out anew: each attending part's weights above chance, shuffled among the parts that it
may attend to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.errors import InputError
from attention_analyzer.parts.attention import PartAttention
from attention_analyzer.result import Result
from attention_analyzer.stats import benjamini_hochberg

Floats = NDArray[np.float64]
#: False discovery rate at which a head counts as a receiver.
FDR = 0.05


@dataclass(frozen=True, repr=False)
class Receivers(Result):
    """Which heads gather the attention of what follows on a few parts, and on which.

    Attributes:
        scores: mean weight above chance that later parts put on each part, ``[head, part]``; NaN where too few follow.
        table: one row per head: ``stack``, ``layer``, ``head``, ``kurtosis``, ``control`` (its mean over shuffles),
            ``p_value``, ``q_value``, ``receiver`` (q ≤ 0.05), ``part`` (the most attended one) and its ``score``.
        parts: names of the parts.
        gap: how many parts an attending part stands behind the attended one, at least.
    """

    scores: Floats = field(compare=False)
    table: pd.DataFrame = field(compare=False)
    parts: tuple[str, ...]
    gap: int
    model_name: str = ""

    def to_frame(self) -> pd.DataFrame:
        return self.table

    def facts(self) -> tuple[str, ...]:
        found = self.table[self.table["receiver"]].sort_values("kurtosis", ascending=False)
        counted = f"{len(found)} of {len(self.table)} heads are receivers (q ≤ {FDR:g} against shuffled weights)"
        if not len(found):
            return (counted,)
        best = found.iloc[0]
        return (counted, f"most peaked: L{best['layer']}H{best['head']}, on {best['part']}")


def receivers(found: PartAttention, *, gap: int = 4, shuffles: int = 400, seed: int = 0) -> Receivers:
    """Receiver heads of a text with itself.

    Args:
        gap: attending parts stand at least so many parts behind.
        shuffles: how often weights are dealt out anew.

    Raises:
        InputError: queries and keys are different texts, or there are too few parts.
    """
    if found.queries is not found.keys:
        raise InputError("Receiver heads are those of a text that attends to itself, but queries and keys differ.")
    if type(gap) is not int or gap < 1 or type(shuffles) is not int or shuffles < 20:
        raise InputError(f"gap is at least 1 and shuffles at least 20, not {gap!r} and {shuffles!r}.")
    size = len(found.queries)
    if size < gap + 4:
        raise InputError(
            f"There are {size} parts ({found.queries.level}), but receivers need at least {gap + 4} with gap={gap}; "
            "give finer parts or a smaller gap."
        )
    above = np.nan_to_num(found.without_sinks - found.chance)
    follows = np.arange(size)[:, None] - np.arange(size) >= gap
    scores = _scores(above, follows)
    peaked = _kurtosis(scores)
    generator = np.random.default_rng(seed)
    controls = np.stack([_kurtosis(_scores(_dealt(above, follows, generator), follows)) for _ in range(shuffles)])
    p = (1 + (controls >= peaked).sum(0)) / (1 + shuffles)
    q = benjamini_hochberg(p)
    best = np.nanargmax(scores, axis=1)
    table = pd.DataFrame(
        {
            "stack": [site.stack for site, _ in found.heads],
            "layer": [site.layer for site, _ in found.heads],
            "head": [head for _, head in found.heads],
            "kurtosis": peaked,
            "control": controls.mean(0),
            "p_value": p,
            "q_value": q,
            "receiver": q <= FDR,
            "part": [found.queries.names[number] for number in best],
            "score": scores[np.arange(len(scores)), best],
        }
    )
    return Receivers(scores, table, found.queries.names, gap, found.model_name)


def _scores(above: Floats, follows: NDArray[np.bool_]) -> Floats:
    """``[head, part]``: the mean over the parts that follow; NaN where none does."""
    counts = follows.sum(0)
    sums = np.where(follows, above, 0).sum(1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _dealt(above: Floats, follows: NDArray[np.bool_], generator: np.random.Generator) -> Floats:
    """Each attending part's weights, shuffled among the parts that it may attend to."""
    dealt = above.copy()
    for query in np.flatnonzero(follows.sum(1) > 1):
        keys = np.flatnonzero(follows[query])
        dealt[:, query, keys] = generator.permuted(above[:, query, keys], axis=1)
    return dealt


def _kurtosis(scores: Floats) -> Floats:
    """Fourth standardized moment over parts, ``[head]``; 0 where nothing varies."""
    known = scores[:, ~np.isnan(scores).any(0)]
    apart = known - known.mean(1, keepdims=True)
    variance = (apart**2).mean(1)
    return np.where(variance > 1e-20, (apart**4).mean(1) / np.maximum(variance, 1e-20) ** 2, 0.0)
