"""What one pass over the weights can gather, and the pass itself.

A :class:`Reduction` is asked for by value (``OffsetWeight(-1)``), so that two metrics that need the same one share it.
Rows arrive finished, so a reduction may be anything that can be written over a block of rows; those that are linear in
a row (weight on a group of keys, expected distance) are gathered together in one product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError, InputError
from attention_analyzer.weights.block import Block


@dataclass(frozen=True)
class Axes:
    """The sizes and the frame of one pass.

    Attributes:
        batch, heads, queries, keys: sizes.
        diagonal: query ``i`` is the same token as key ``i + diagonal``; None where the axes hold different tokens
            (cross-attention), so that offsets and distances have no meaning.
        valid: bool ``[batch, query]``, queries that count; padding does not, nor does a query that sees no key.
        visible: int64 ``[batch or 1, head or 1, query]``, how many keys a query sees.
        groups: named key groups, bool ``[batch or 1, key]`` (special tokens, punctuation …).
    """

    batch: int
    heads: int
    queries: int
    keys: int
    diagonal: int | None
    valid: Tensor
    visible: Tensor
    groups: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def flat(self) -> int:
        return self.batch * self.heads


class Reduction(ABC):
    """One statistic of finished rows; frozen and hashable, so that equal requests are one."""

    #: Whether the result is per query or per key.
    axis: ClassVar[Literal["query", "key"]] = "query"

    @abstractmethod
    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        """Enter a block into ``result`` (``[flat head, query]`` or ``[flat head, key]``)."""

    def start(self, axes: Axes, like: Tensor) -> Tensor:
        """The empty result. NaN for queries: a value nobody entered must not look like one."""
        if self.axis == "key":
            return like.new_zeros(axes.flat, axes.keys)
        return like.new_full((axes.flat, axes.queries), torch.nan)


@dataclass(frozen=True)
class Entropy(Reduction):
    """Shannon entropy of a row in nats, ``-Σ a log a``."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        # Rounding can leave a one-hot row a hair below zero.
        result[block.heads, block.rows] = block.row_entropy.clamp(min=0)


@dataclass(frozen=True)
class LargestWeight(Reduction):
    """The largest weight of a row."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = block.largest


@dataclass(frozen=True)
class SmallestWeight(Reduction):
    """The smallest weight of a row among the keys the query sees."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = block.row_smallest


@dataclass(frozen=True)
class StrongestKey(Reduction):
    """Index of the key with the largest weight (the first of equals), as a float."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = (block.weights.argmax(-1) + block.keys.start).to(result.dtype)


@dataclass(frozen=True)
class TotalWeight(Reduction):
    """The sum of a row: one, or what an attention sink leaves."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = block.weights.sum(-1)


@dataclass(frozen=True)
class OffsetWeight(Reduction):
    """Weight on the key at a fixed offset, ``a[i, i + offset]``; NaN where there is no such key."""

    offset: int

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        if axes.diagonal is None:
            return
        values, rows = block.diagonal(self.offset + axes.diagonal)
        result[block.heads, rows] = values
        # Keys that exist but lie outside the block are hidden from all its queries: their weight is zero.
        shift = self.offset + axes.diagonal
        first, last = max(block.rows.start, -shift), min(block.rows.stop, axes.keys - shift)
        result[block.heads, first : max(first, min(rows.start, last))] = 0
        result[block.heads, max(first, rows.stop) : max(first, rows.stop, last)] = 0


@dataclass(frozen=True)
class WindowWeight(Reduction):
    """Weight on the keys at most ``width`` tokens away, itself included."""

    width: int

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        if axes.diagonal is None:
            return
        total = block.weights.new_zeros(block.weights.shape[:2])
        for offset in range(-self.width, self.width + 1):
            values, rows = block.diagonal(offset + axes.diagonal)
            total[:, rows.start - block.rows.start : rows.stop - block.rows.start] += values
        result[block.heads, block.rows] = total


@dataclass(frozen=True)
class GroupWeight(Reduction):
    """Weight on a named group of keys."""

    group: str

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        raise NotImplementedError("group weights are gathered by the pass")


@dataclass(frozen=True)
class Distance(Reduction):
    """Expected distance in tokens between the query and what it looks at, ``Σ a_ij |i - j|`` over the row's sum."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        raise NotImplementedError("distances are gathered by the pass")


@dataclass(frozen=True)
class ReceivedWeight(Reduction):
    """Weight a key receives from all valid queries together, ``Σ_i a_ij``."""

    axis: ClassVar[Literal["query", "key"]] = "key"

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.keys] += block.weights.sum(-2)


class _LinearPart:
    """Group weights and distances: one product of a block with a few columns of key features.

    ``|i - j|`` is linear on either side of the block's own tokens; only the small tile between is done cell by cell.
    """

    def __init__(self, reductions: Iterable[Reduction], axes: Axes, dtype: torch.dtype, device: torch.device) -> None:
        self.groups = [r for r in reductions if isinstance(r, GroupWeight)]
        self.distance = next((r for r in reductions if isinstance(r, Distance)), None)
        self.axes = axes
        columns = []
        for reduction in self.groups:
            if reduction.group not in axes.groups:
                known = ", ".join(sorted(axes.groups)) or "none"
                raise InputError(f"No key group is named {reduction.group!r}; the groups of this pass are: {known}.")
            columns.append(axes.groups[reduction.group].to(device=device, dtype=dtype).expand(axes.batch, axes.keys))
        self.width = len(columns)
        if self.measures_distance:
            columns += [torch.ones(axes.batch, axes.keys, dtype=dtype, device=device)] * 2
        self.features = torch.stack(columns, dim=-1) if columns else None
        self.positions = torch.arange(axes.keys, dtype=dtype, device=device)

    @property
    def measures_distance(self) -> bool:
        return self.distance is not None and self.axes.diagonal is not None

    def update(self, results: Mapping[Reduction, Tensor], block: Block) -> None:
        if self.features is None:
            return
        if not self.measures_distance:
            sums = self._project(block, block.keys)
        else:
            sums = self._with_distance(results, block)
        for column, reduction in enumerate(self.groups):
            results[reduction][block.heads, block.rows] = sums[..., column]

    def _with_distance(self, results: Mapping[Reduction, Tensor], block: Block) -> Tensor:
        assert self.axes.diagonal is not None and self.distance is not None and self.features is not None
        start, stop = (edge + self.axes.diagonal for edge in (block.rows.start, block.rows.stop))
        # Positions count from the block's first token: numbers stay small, and so does their rounding.
        self.features[..., -1] = self.positions - start
        low, high = (min(max(edge, block.keys.start), block.keys.stop) for edge in (start, stop))
        before = self._project(block, slice(block.keys.start, low))
        inside = self._project(block, slice(low, high))
        after = self._project(block, slice(high, block.keys.stop))
        here = torch.arange(block.rows.stop - block.rows.start, dtype=before.dtype, device=before.device)
        distance = here * before[..., -2] - before[..., -1] + after[..., -1] - here * after[..., -2]
        tile = block.weights[..., low - block.keys.start : high - block.keys.start]
        offsets = (self.positions[low:high] - start - here[:, None]).abs()
        distance += torch.einsum("grk,rk->gr", tile, offsets)
        total = before[..., -2] + inside[..., -2] + after[..., -2]
        results[self.distance][block.heads, block.rows] = distance / total
        return before + inside + after

    def _project(self, block: Block, keys: slice) -> Tensor:
        """``[flat head, row, column]``: the block's weights on some keys times their features."""
        assert self.features is not None
        part = block.weights[..., keys.start - block.keys.start : keys.stop - block.keys.start]
        features = self.features[:, keys]
        if self.axes.batch == 1:
            flat = part.reshape(-1, part.shape[-1]) if part.is_contiguous() else part
            return (flat @ features[0]).view(*part.shape[:2], -1)
        texts = torch.arange(block.heads.start, block.heads.stop, device=part.device) // self.axes.heads
        return torch.bmm(part, features[texts])


@dataclass(frozen=True)
class Statistics:
    """The results of one pass, per batch row, head and query (or key)."""

    axes: Axes
    values: Mapping[Reduction, Tensor]

    def __getitem__(self, reduction: Reduction) -> Tensor:
        """``[batch, head, query]``, or ``[batch, head, key]`` for what keys receive. NaN where undefined."""
        return self.values[reduction]

    @property
    def valid(self) -> Tensor:
        """bool ``[batch, 1, query]``: queries that count."""
        return self.axes.valid[:, None]

    def mean_over_queries(self, values: Tensor) -> Tensor:
        """``[batch, head]``: mean over valid queries with a defined value; NaN if there is none."""
        counted = self.valid & ~values.isnan()
        total = torch.where(counted, values, 0).sum(-1)
        return total / counted.sum(-1)

    def mean(self, reduction: Reduction) -> Tensor:
        return self.mean_over_queries(self[reduction])


def gather(blocks: Iterable[Block], reductions: Collection[Reduction], axes: Axes, like: Tensor) -> Statistics:
    """Run the blocks past all reductions, once.

    Args:
        blocks: finished rows, each cell exactly once.
        like: a tensor with the dtype and device the results should have.

    Raises:
        CaptureError: a weight is NaN or infinite.
    """
    results = {reduction: reduction.start(axes, like) for reduction in dict.fromkeys(reductions)}
    gathered = (GroupWeight, Distance)
    linear = _LinearPart(results, axes, like.dtype, like.device)
    plain = [(reduction, result) for reduction, result in results.items() if not isinstance(reduction, gathered)]
    all_valid = bool(axes.valid.all())
    for block in blocks:
        if not bool(torch.isfinite(block.largest).all()):
            raise CaptureError(_not_finite(block, axes))
        if not all_valid:
            _silence_invalid(block, axes)
        for reduction, result in plain:
            reduction.update(result, block, axes)
        linear.update(results, block)
    shape = (axes.batch, axes.heads)
    return Statistics(axes, {reduction: result.view(*shape, -1) for reduction, result in results.items()})


def _silence_invalid(block: Block, axes: Axes) -> None:
    """Padding queries give no weight to anything, so that what keys receive needs no second thought."""
    texts = torch.arange(block.heads.start, block.heads.stop, device=axes.valid.device) // axes.heads
    invalid = ~axes.valid[texts, block.rows].to(block.weights.device)
    if bool(invalid.any()):
        block.weights.masked_fill_(invalid[..., None], 0)


def _not_finite(block: Block, axes: Axes) -> str:
    where = (~torch.isfinite(block.largest)).nonzero()[0]
    head = (block.heads.start + int(where[0])) % axes.heads
    return (
        f"The attention weights of head {head}, query {block.rows.start + int(where[1])} are NaN or infinite; "
        "the model itself computes them so: check its weights and dtype."
    )
