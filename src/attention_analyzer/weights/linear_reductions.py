"""Reductions that are gathered together: one product for all that is linear in a row, one strip around the diagonal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.weights.block import Block
from attention_analyzer.weights.reductions import (
    Axes,
    Distance,
    GroupWeight,
    OffsetWeight,
    Reduction,
    WindowWeight,
)


def key_group(axes: Axes, name: str) -> Tensor:
    """A named group of keys, bool ``[batch or 1, key]``.

    Raises:
        InputError: the pass has no group of that name.
    """
    if name not in axes.groups:
        known = ", ".join(sorted(axes.groups)) or "none"
        raise InputError(f"No key group is named {name!r}; the groups of this pass are: {known}.")
    return axes.groups[name]


def key_labels(axes: Axes, name: str) -> tuple[Tensor, Tensor]:
    """Named labels of queries and keys, int64 ``([batch or 1, query], [batch or 1, key])``.

    Raises:
        InputError: the pass has no labels of that name.
    """
    if name not in axes.labels:
        known = ", ".join(sorted(axes.labels)) or "none"
        raise InputError(f"No labels are named {name!r}; the labels of this pass are: {known}.")
    return axes.labels[name]


#: How :class:`.MatchWeight` says which keys count, as a number for the kernels.
AMONG = {"all": 0, "other": 1, "earlier": 2}


def numbered_labels(axes: Axes, name: str) -> tuple[Tensor, Tensor]:
    """Named labels for every text as small numbers, int64 ``([batch, query], [batch, key])``; negative for none."""
    of_queries, of_keys = (part.expand(axes.batch, -1) for part in key_labels(axes, name))
    _, numbers = torch.cat([of_queries, of_keys], dim=1).unique(return_inverse=True)
    return numbers[:, : axes.queries].masked_fill(of_queries < 0, -1), numbers[:, axes.queries :]


def reachable(axes: Axes, offset: int) -> int:
    """The offset, or the nearest one at which no query has a key: what a pass builds is bounded by the axes."""
    assert axes.diagonal is not None
    return min(max(offset, -axes.queries - axes.diagonal), axes.keys - axes.diagonal)


def reachable_width(axes: Axes, width: int) -> int:
    """The width, or the smallest one that reaches every key of every query."""
    assert axes.diagonal is not None
    return min(width, max(axes.queries + axes.diagonal, axes.keys - axes.diagonal))


def only_existing(axes: Axes, offsets: Sequence[int], weights: Tensor) -> Tensor:
    """Weights on the keys at fixed offsets ``[offset, flat head, query]``, NaN where there is no key or padding."""
    assert axes.diagonal is not None
    device = axes.valid.device
    near = torch.tensor([reachable(axes, offset) for offset in offsets], device=device)
    at = torch.arange(axes.queries, device=device) + axes.diagonal + near[:, None]
    exists = ((at >= 0) & (at < axes.keys))[:, None]
    if axes.key_valid is not None:
        exists = exists & axes.key_valid[:, at.clamp(0, axes.keys - 1)].transpose(0, 1)
    return weights.unflatten(1, (axes.batch, axes.heads)).masked_fill(~exists[:, :, None], torch.nan).flatten(1, 2)


class LinearPart:
    """Group weights and distances: one product of a block with a few columns of key features.

    ``|i - j|`` is linear on either side of the block's own tokens; only the small tile between is done cell by cell.
    """

    def __init__(self, requested: Iterable[Reduction], axes: Axes, dtype: torch.dtype, device: torch.device) -> None:
        requested = list(requested)
        self.groups = [reduction for reduction in requested if isinstance(reduction, GroupWeight)]
        self.distance = next((r for r in requested if isinstance(r, Distance) and axes.diagonal is not None), None)
        self.axes = axes
        columns = [self._group(reduction.group, dtype, device) for reduction in self.groups]
        if self.distance is not None:
            columns += [torch.ones(axes.batch, axes.keys, dtype=dtype, device=device)] * 2
        self.features = torch.stack(columns, dim=-1) if columns else None
        self.positions = torch.arange(axes.keys, dtype=dtype, device=device)

    def _group(self, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        return key_group(self.axes, name).to(device=device, dtype=dtype).expand(self.axes.batch, self.axes.keys)

    def update(self, results: Mapping[Reduction, Tensor], block: Block) -> None:
        if self.features is None:
            return
        sums = self._project(block, block.keys) if self.distance is None else self._with_distance(results, block)
        for column, reduction in enumerate(self.groups):
            results[reduction][block.heads, block.rows] = sums[..., column]

    def _with_distance(self, results: Mapping[Reduction, Tensor], block: Block) -> Tensor:
        assert self.axes.diagonal is not None and self.distance is not None and self.features is not None
        start, stop = (edge + self.axes.diagonal for edge in (block.rows.start, block.rows.stop))
        # Positions count from the block's first token: numbers stay small, and so does their rounding.
        self.features[..., -1] = self.positions - start
        low, high = (min(max(edge, block.keys.start), block.keys.stop) for edge in (start, stop))
        here = self.positions[: block.rows.stop - block.rows.start]
        tile = block.weights[..., low - block.keys.start : high - block.keys.start]
        distance = torch.linalg.vecdot(tile, _apart(low - start, high - start, len(here), here.dtype, here.device))
        sums = self._project(block, slice(low, high))
        if low > block.keys.start:
            before = self._project(block, slice(block.keys.start, low))
            distance += here * before[..., -2] - before[..., -1]
            sums += before
        if high < block.keys.stop:
            after = self._project(block, slice(high, block.keys.stop))
            distance += after[..., -1] - here * after[..., -2]
            sums += after
        results[self.distance][block.heads, block.rows] = distance / sums[..., -2]
        return sums

    def _project(self, block: Block, keys: slice) -> Tensor:
        """``[flat head, row, column]``: the block's weights on some keys times their features."""
        assert self.features is not None
        part = block.weights[..., keys.start - block.keys.start : keys.stop - block.keys.start]
        features = self.features[:, keys]
        if self.axes.batch == 1:
            return torch.bmm(part, features.expand(part.shape[0], -1, -1))
        texts = torch.arange(block.heads.start, block.heads.stop, device=part.device) // self.axes.heads
        return torch.bmm(part, features[texts])


@lru_cache(maxsize=8)
def _apart(low: int, high: int, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``|i - j|`` for rows 0 … and keys low … high, counted from one origin; every inner block asks for the same."""
    keys = torch.arange(low, high, dtype=dtype, device=device)
    return (keys - torch.arange(rows, dtype=dtype, device=device)[:, None]).abs()


#: Up to this width the cells of a window are copied with those of the offsets; a wider one is summed in the block.
_NARROW = 8


class DiagonalPart:
    """Offset and window weights: the cells of some diagonals, copied once and read off at the end.

    What is copied is one number per row for each diagonal that is needed, however far apart they are.
    """

    def __init__(self, requested: Iterable[Reduction], axes: Axes, like: Tensor) -> None:
        requested = list(requested)
        self.axes = axes
        aligned = requested if axes.diagonal is not None else []
        self.offsets = {r: reachable(axes, r.offset) for r in aligned if isinstance(r, OffsetWeight)}
        widths = {r: reachable_width(axes, r.width) for r in aligned if isinstance(r, WindowWeight)}
        self.narrow = {window: width for window, width in widths.items() if width <= _NARROW}
        self.wide = {window: width for window, width in widths.items() if width > _NARROW}
        needed = set(self.offsets.values())
        for width in self.narrow.values():
            needed.update(range(-width, width + 1))
        self.columns = sorted(needed)
        # Keys that a block leaves out are hidden from its queries: their weight is zero.
        self.strip = like.new_zeros(axes.flat, axes.queries, len(self.columns)) if self.columns else like
        self.sums = {window: like.new_zeros(axes.flat, axes.queries) for window in self.wide}

    def update(self, block: Block) -> None:
        if self.columns:
            self._copy(block)
        for window, width in self.wide.items():
            assert self.axes.diagonal is not None
            offset = block.rows.start + self.axes.diagonal - block.keys.start
            inside = block.weights.tril(offset + width).triu(offset - width)
            self.sums[window][block.heads, block.rows] += inside.sum(-1)

    def _copy(self, block: Block) -> None:
        assert self.axes.diagonal is not None
        height, width = block.weights.shape[1:]
        first, span = self.columns[0], self.columns[-1] - self.columns[0] + 1
        column = block.rows.start + self.axes.diagonal + first - block.keys.start
        lies_within = column >= 0 and column + height - 1 + span <= width
        if span == len(self.columns) and lies_within and block.weights.is_contiguous():
            # One step down and one to the right per row: the strip is a strided view of the block.
            view = block.weights.as_strided(
                (block.weights.shape[0], height, span),
                (height * width, width + 1, 1),
                block.weights.storage_offset() + column,
            )
            self.strip[block.heads, block.rows] = view
            return
        for place, offset in enumerate(self.columns):
            values, rows = block.diagonal(offset + self.axes.diagonal)
            self.strip[block.heads, rows, place] = values

    def finish(self, results: Mapping[Reduction, Tensor]) -> None:
        """Write each request's result; it stays NaN where the key does not exist or is padding."""
        place = {offset: number for number, offset in enumerate(self.columns)}
        if self.offsets:
            strip = self.strip[..., [place[offset] for offset in self.offsets.values()]].movedim(-1, 0)
            existing = only_existing(self.axes, list(self.offsets.values()), strip)
            for reduction, values in zip(self.offsets, existing, strict=True):
                results[reduction].copy_(values)
        for window, width in self.narrow.items():
            results[window].copy_(self.strip[..., place[-width] : place[width] + 1].sum(-1))
        for window, sums in self.sums.items():
            results[window].copy_(sums)
