"""Mean, spread and interval of many quantities at once, from sums that can be added up in any order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.stats import t_quantile

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Raw sufficient statistics; divided once, when asked. All arrays have one shape; NaN was never counted.

    Attributes:
        count: int64, how many texts said something.
        total, squares: sums of the values and of their squares.
        smallest, largest: inf and -inf where nothing was counted.
    """

    count: NDArray[np.int64]
    total: Floats
    squares: Floats
    smallest: Floats
    largest: Floats

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Moments:
        """Merging it changes nothing."""
        nothing = np.zeros(shape)
        return cls(np.zeros(shape, dtype=np.int64), nothing, nothing, nothing + np.inf, nothing - np.inf)

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Moments:
        """Of values ``[text, …]``; NaN says nothing."""
        known = ~np.isnan(values)
        filled = np.where(known, values, 0).astype(np.float64)
        return cls(
            count=known.sum(0),
            total=filled.sum(0),
            squares=(filled**2).sum(0),
            smallest=np.where(known, values, np.inf).min(0, initial=np.inf).astype(np.float64),
            largest=np.where(known, values, -np.inf).max(0, initial=-np.inf).astype(np.float64),
        )

    def merge(self, other: Moments) -> Moments:
        """Of both together."""
        return Moments(
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            smallest=np.minimum(self.smallest, other.smallest),
            largest=np.maximum(self.largest, other.largest),
        )

    @cached_property
    def mean(self) -> Floats:
        """NaN where nothing was counted."""
        return np.divide(self.total, self.count, out=np.full(self.total.shape, np.nan), where=self.count > 0)

    @cached_property
    def spread(self) -> Floats:
        """Standard deviation between texts (n - 1); NaN for fewer than two."""
        about = np.maximum(self.squares - np.nan_to_num(self.mean) * self.total, 0)
        variance = np.divide(about, self.count - 1, out=np.full(about.shape, np.nan), where=self.count > 1)
        return np.sqrt(variance)

    @cached_property
    def interval(self) -> tuple[Floats, Floats]:
        """95 % interval of the mean over such texts (Student's t); NaN for fewer than two.

        Texts are the unit: queries of one text are no independent draws.
        """
        quantile = np.full(self.count.shape, np.nan)
        for count in np.unique(self.count[self.count > 1]):
            quantile[self.count == count] = t_quantile(int(count) - 1)
        half = quantile * self.spread / np.sqrt(np.maximum(self.count, 1))
        return self.mean - half, self.mean + half
