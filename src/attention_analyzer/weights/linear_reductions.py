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


def only_existing(axes: Axes, offsets: Sequence[int], weights: Tensor) -> Tensor:
    """Weights on the keys at fixed offsets ``[offset, flat head, query]``, NaN where there is no key or padding."""
    assert axes.diagonal is not None
    device = axes.valid.device
    at = torch.arange(axes.queries, device=device) + axes.diagonal + torch.tensor(offsets, device=device)[:, None]
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


class DiagonalPart:
    """Offset and window weights: the strip of cells around the diagonal, copied once and read off at the end."""

    def __init__(self, requested: Iterable[Reduction], axes: Axes, like: Tensor) -> None:
        requested = list(requested)
        self.offsets = [reduction for reduction in requested if isinstance(reduction, OffsetWeight)]
        self.windows = [reduction for reduction in requested if isinstance(reduction, WindowWeight)]
        self.axes = axes
        reach = [reduction.offset for reduction in self.offsets]
        for window in self.windows:
            reach += [-window.width, window.width]
        self.active = bool(reach) and axes.diagonal is not None
        self.first = min(reach, default=0)
        self.width = max(reach, default=0) - self.first + 1
        # Keys that a block leaves out are hidden from its queries: their weight is zero.
        self.strip = like.new_zeros(axes.flat, axes.queries, self.width) if self.active else like

    def update(self, block: Block) -> None:
        if not self.active:
            return
        assert self.axes.diagonal is not None
        height, width = block.weights.shape[1:]
        column = block.rows.start + self.axes.diagonal + self.first - block.keys.start
        if column >= 0 and column + height - 1 + self.width <= width and block.weights.is_contiguous():
            # One step down and one to the right per row: the strip is a strided view of the block.
            view = block.weights.as_strided(
                (block.weights.shape[0], height, self.width),
                (height * width, width + 1, 1),
                block.weights.storage_offset() + column,
            )
            self.strip[block.heads, block.rows] = view
            return
        for step in range(self.width):
            values, rows = block.diagonal(self.first + step + self.axes.diagonal)
            self.strip[block.heads, rows, step] = values

    def finish(self, results: Mapping[Reduction, Tensor]) -> None:
        """Write each request's result; it stays NaN where the key does not exist or is padding."""
        if not self.active:
            return
        if self.offsets:
            offsets = [reduction.offset for reduction in self.offsets]
            strip = self.strip[..., [offset - self.first for offset in offsets]].movedim(-1, 0)
            for reduction, values in zip(self.offsets, only_existing(self.axes, offsets, strip), strict=True):
                results[reduction].copy_(values)
        for window in self.windows:
            middle = -self.first
            results[window].copy_(self.strip[..., middle - window.width : middle + window.width + 1].sum(-1))
