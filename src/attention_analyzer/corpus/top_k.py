"""The k largest values of many quantities, exactly: the same k whatever parts the texts came in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Strongest:
    """For each of many quantities the k texts with its largest values, the largest first.

    Of equal values the earlier text comes first, so the order is total and merging is exact.

    Attributes:
        value: float32 ``[quantity, k]``; -inf where there are fewer texts.
        text: int64 ``[quantity, k]``, the text's number; -1 where there are fewer.
        at: int32 ``[quantity, k, 2]``: query and key, for quantities that are a pair of tokens; else -1.
    """

    value: NDArray[np.float32]
    text: NDArray[np.int64]
    at: NDArray[np.int32]

    @classmethod
    def empty(cls, quantities: int, most: int) -> Strongest:
        return cls(
            np.full((quantities, most), -np.inf, dtype=np.float32),
            np.full((quantities, most), -1, dtype=np.int64),
            np.full((quantities, most, 2), -1, dtype=np.int32),
        )

    @classmethod
    def of(
        cls,
        values: NDArray[np.float32],
        texts: NDArray[np.int64],
        most: int,
        at: NDArray[np.int32] | None = None,
    ) -> Strongest:
        """Of values ``[text, quantity]`` (NaN says nothing) of texts with these numbers; ``at [text, quantity, 2]``."""
        quantities = values.shape[1]
        if not len(values) or not most:
            return cls.empty(quantities, most)
        known = np.where(np.isnan(values), -np.inf, values)
        # Only what reaches the k-th largest value can be among the k; that is few, so sorting comes after.
        least = np.partition(known, -most, axis=0)[-most] if len(known) > most else known.min(0)
        row, quantity = np.nonzero((known >= least) & (known > -np.inf))
        return cls._ranked(
            quantities, most, quantity, known[row, quantity], texts[row], None if at is None else at[row, quantity]
        )

    def merge(self, other: Strongest) -> Strongest:
        """Of both together; no text may be in both."""
        quantities, most = self.value.shape
        value = np.concatenate([self.value, other.value], axis=1)
        quantity, column = np.nonzero(value > -np.inf)
        text = np.concatenate([self.text, other.text], axis=1)[quantity, column]
        at = np.concatenate([self.at, other.at], axis=1)[quantity, column]
        return self._ranked(quantities, most, quantity, value[quantity, column], text, at)

    @classmethod
    def _ranked(
        cls,
        quantities: int,
        most: int,
        quantity: NDArray[np.int64],
        value: NDArray[np.float32],
        text: NDArray[np.int64],
        at: NDArray[np.int32] | None,
    ) -> Strongest:
        result = cls.empty(quantities, most)
        order = np.lexsort((text, -value, quantity))
        quantity = quantity[order]
        starts = np.searchsorted(quantity, np.arange(quantities))
        rank = np.arange(len(order)) - starts[quantity]
        kept = rank < most
        place = quantity[kept], rank[kept]
        result.value[place], result.text[place] = value[order][kept], text[order][kept]
        if at is not None:
            result.at[place] = at[order][kept]
        return result
