"""A block of finished attention rows, and how a pass is cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

#: Cells a block may hold. Two float32 buffers of this size stay in a core's level-2 cache (measured: half and twice
#: this size are both slower); a GPU wants far larger blocks to be busy.
CELLS_ON_CPU = 1 << 20
CELLS_ON_GPU = 1 << 26
#: Fewest and most rows a block should have when the text is long.
FEWEST_ROWS, MOST_ROWS = 32, 128


@dataclass(frozen=True)
class Block:
    """Finished rows of some heads.

    Attributes:
        weights: ``[flat head, row, key]``; the flat axis runs over batch rows, then heads.
        scores: the same cells before the softmax; hidden cells hold a huge negative number. None for stored weights.
        log_sum: ``[flat head, row]``, log of the sum of the exponentials, sink included. None for stored weights.
        largest: ``[flat head, row]``, the largest weight of the row.
        hidden: bool, broadcastable to ``weights[..., hidden_from:]``: cells the query does not see; None if it sees
            them all.
        hidden_from: every query of the block sees all keys of the block before this column.
        total: ``[flat head, row]``, the sum of the row where a sink takes a share of it; None where it is one.
        heads, rows, keys: where the block lies.
    """

    weights: Tensor
    scores: Tensor | None
    log_sum: Tensor | None
    largest: Tensor
    hidden: Tensor | None
    heads: slice
    rows: slice
    keys: slice
    hidden_from: int = 0
    total: Tensor | None = None

    @cached_property
    def row_entropy(self) -> Tensor:
        """``[flat head, row]`` in nats: ``log_sum - Σ weight · score``; of the real keys only if there is a sink."""
        if self.scores is None or self.log_sum is None:
            return torch.special.entr(self.weights).sum(-1)
        log_sum = self.log_sum if self.total is None else self.log_sum * self.total
        return log_sum - torch.linalg.vecdot(self.weights, self.scores)

    @property
    def row_total(self) -> Tensor:
        """``[flat head, row]``: the sum of the row."""
        if self.log_sum is None:
            return self.weights.sum(-1)
        return torch.ones_like(self.largest) if self.total is None else self.total

    @cached_property
    def row_smallest(self) -> Tensor:
        """``[flat head, row]``: the smallest weight among visible cells (inf for a row that sees nothing)."""
        if self.hidden is None:
            return self.weights.amin(-1)
        cut = self.weights[..., self.hidden_from :].masked_fill(self.hidden, torch.inf).amin(-1)
        if self.hidden_from == 0:
            return cut
        return torch.minimum(self.weights[..., : self.hidden_from].amin(-1), cut)

    def diagonal(self, offset: int) -> tuple[Tensor, slice]:
        """Weights on the keys at ``key - query == offset``: ``[flat head, some rows]`` and which rows these are."""
        first = max(self.rows.start, self.keys.start - offset)
        last = min(self.rows.stop, self.keys.stop - offset)
        if last <= first:
            return self.weights[:, :0, 0], slice(self.rows.start, self.rows.start)
        part = self.weights[:, first - self.rows.start : last - self.rows.start]
        column = first + offset - self.keys.start
        part = part[..., column : column + last - first]
        return part.diagonal(dim1=-2, dim2=-1), slice(first, last)


@dataclass(frozen=True)
class BlockPlan:
    """The blocks of one pass, as runs of the outer axis and of rows."""

    pieces: tuple[tuple[slice, slice], ...]
    capacity: int

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        return iter(self.pieces)


def block_plan(
    outer: int,
    group: int,
    rows: int,
    visible_keys: Callable[[slice], slice],
    boundary: int | None,
    device: torch.device,
) -> BlockPlan:
    """Cut ``outer × rows`` into blocks that fit the cache.

    Args:
        outer: size of the outer axis (batch rows × key heads); ``group`` heads share each of its entries.
        visible_keys: the keys that a run of rows needs; blocks of causal and windowed sites are smaller for it.
        boundary: a block may not cross multiples of this on the outer axis; None if it may.
    """
    cells = CELLS_ON_CPU if device.type == "cpu" else CELLS_ON_GPU
    widest = max(1, _width(visible_keys(slice(0, rows))))
    height = min(rows, max(FEWEST_ROWS, min(MOST_ROWS, cells // (group * widest))))
    pieces = []
    capacity = 0
    for start in range(0, rows, height):
        run = slice(start, min(start + height, rows))
        width = _width(visible_keys(run))
        size = group * (run.stop - run.start) * width
        at_once = max(1, cells // max(size, 1))
        for first in _starts(outer, at_once, boundary):
            limit = outer if boundary is None else (first // boundary + 1) * boundary
            part = slice(first, min(first + at_once, limit))
            pieces.append((part, run))
            capacity = max(capacity, (part.stop - part.start) * size)
    return BlockPlan(tuple(pieces), capacity)


def _starts(outer: int, at_once: int, boundary: int | None) -> Iterator[int]:
    for base in range(0, outer, boundary or outer):
        yield from range(base, min(base + (boundary or outer), outer), at_once)


def _width(run: slice) -> int:
    return run.stop - run.start
