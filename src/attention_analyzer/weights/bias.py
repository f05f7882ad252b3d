"""What a model adds to its scores before the softmax, besides the mask: position bias, ALiBi, an additive mask.

A bias that depends only on ``key - query`` (T5, ALiBi) is kept as its diagonals, linear in the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseBias:
    """Any bias, as the model gave it: ``[batch or 1, head or 1, query, key]``."""

    values: Tensor

    def dense(self) -> Tensor:
        return self.values

    @property
    def differs_by_batch(self) -> bool:
        return self.values.shape[0] > 1

    def tile(self, batch: int, heads: slice, rows: slice, keys: slice) -> Tensor:
        """``[head or 1, row, key]`` of one batch row."""
        of_text = self.values[batch if self.differs_by_batch else 0]
        return (of_text[heads] if of_text.shape[0] > 1 else of_text)[:, rows, keys]

    def select(self, batch: int, queries: slice, keys: slice) -> DenseBias:
        return DenseBias(self.values[batch if self.differs_by_batch else 0][None, :, queries, keys])

    def of_rows(self, order: Tensor) -> DenseBias:
        """The bias of other batch rows, in this order."""
        return DenseBias(self.values.index_select(0, order.to(self.values.device))) if self.differs_by_batch else self

    def to(self, device: torch.device | str) -> DenseBias:
        return DenseBias(self.values.to(device))


@dataclass(frozen=True)
class RelativeBias:
    """A bias that depends on ``key - query`` alone.

    Attributes:
        diagonals: ``[head or 1, offset]``; column ``j - i + origin`` belongs to query ``i`` and key ``j``.
        origin: the column of offset 0.
        queries, keys: how much of the plane the diagonals cover.
    """

    diagonals: Tensor
    origin: int
    queries: int
    keys: int
    differs_by_batch: ClassVar[bool] = False

    def tile(self, batch: int, heads: slice, rows: slice, keys: slice) -> Tensor:
        """``[head or 1, row, key]``; ``batch`` does not matter."""
        diagonals = self.diagonals[heads] if self.diagonals.shape[0] > 1 else self.diagonals
        width, height = keys.stop - keys.start, rows.stop - rows.start
        first = keys.start - (rows.stop - 1) + self.origin
        # Row r of the unfolded view starts one offset later than row r-1; queries run the other way.
        return diagonals[:, first : first + width + height - 1].unfold(-1, width, 1).flip(1)

    def select(self, batch: int, queries: slice, keys: slice) -> RelativeBias:
        return RelativeBias(
            self.diagonals,
            self.origin + keys.start - queries.start,
            queries.stop - queries.start,
            keys.stop - keys.start,
        )

    def dense(self) -> Tensor:
        """``[1, head or 1, query, key]``."""
        return self.tile(0, slice(None), slice(0, self.queries), slice(0, self.keys))[None]

    def of_rows(self, order: Tensor) -> RelativeBias:
        """Itself: batch rows do not differ."""
        return self

    def to(self, device: torch.device | str) -> RelativeBias:
        return replace(self, diagonals=self.diagonals.to(device))


Bias = DenseBias | RelativeBias


def as_bias(values: Tensor) -> Bias:
    """The smallest form of a bias ``[batch or 1, head or 1, query, key]``."""
    if values.shape[0] == 1 and values.shape[2] > 1 and torch.equal(values[:, :, 1:, 1:], values[:, :, :-1, :-1]):
        of_head = values[0]
        below = of_head[:, :, 0].flip(-1)  # offsets -(queries - 1) … 0
        diagonals = torch.cat([below, of_head[:, 0, 1:]], dim=-1)
        return RelativeBias(diagonals, origin=values.shape[2] - 1, queries=values.shape[2], keys=values.shape[3])
    return DenseBias(values)
