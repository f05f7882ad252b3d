"""A site as the GPU kernels take it: named tuples of tensors, strides and sizes, the same names on both sides.

What a site does not have is None, and Triton compiles the kernel without the code for it. Nothing here imports triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_analyzer.weights.bias import DenseBias, RelativeBias
from attention_analyzer.weights.linear_reductions import (
    AMONG,
    key_group,
    numbered_labels,
    reachable,
    reachable_width,
)
from attention_analyzer.weights.reductions import Axes, GroupWeight, MatchWeight, OffsetWeight, WindowWeight
from attention_analyzer.weights.scores import ScoreSource

#: Beyond every key; sums with it stay in 32 bits.
_FAR = 1 << 29
LOG2E = 1.4426950408889634


class Strided(NamedTuple):
    """A tensor whose last axis has stride one, with the strides of the three before; those of an axis of one are 0."""

    pointer: Any
    batch: Any
    head: Any
    row: Any


class Site(NamedTuple):
    """What scores are made of. Masks are uint8, segments int32; all that have a batch axis have it for every text."""

    query: Strided
    key: Strided
    bias: Strided | None
    mask: Strided | None
    key_seen: Any  # [batch, key]
    query_segments: Any  # [batch, query]
    key_segments: Any  # [batch, key]
    sinks: Strided | None


class Sizes(NamedTuple):
    """Numbers that differ from text to text; kernels are not compiled anew for them."""

    batch: Any
    heads: Any
    group: Any  # query heads per key head
    queries: Any
    keys: Any
    lower: Any  # the band: key - query; None where that side is open
    upper: Any
    diagonal: Any  # key - query of the same token


class Scale(NamedTuple):
    """From products to scores.

    Attributes:
        unit: what turns the numbers a kernel compares into scores in units of log 2. Without softcap and bias these are
            the bare products, so that scaling costs one multiply-add before the exponential.
    """

    scaling: Any
    softcap: Any
    unit: Any


class Basis(NamedTuple):
    """``[batch or 1, key, column]``: membership of keys in groups and, in the last column, the place in the tile.

    The weight on all groups and the expected place are one product of the exponentials with it.
    """

    pointer: Any
    batch: Any
    count: Any  # of groups


class Near(NamedTuple):
    """Offsets from the query's own key between which weights are summed, all within ``nearest`` and ``farthest``."""

    low: Any
    high: Any
    count: Any
    nearest: Any
    farthest: Any


class Matches(NamedTuple):
    """Labels ``[match, batch, query]`` and ``[match, batch, key]``, and which keys count (:data:`.AMONG`)."""

    queries: Any
    keys: Any
    among: Any
    count: Any


class Form(NamedTuple):
    """What a kernel is compiled for: one variant for each, so what differs from text to text is not here.

    Attributes:
        rows, cols: queries and keys of a tile.
        channels, width: of a head, as they are and rounded up to a power of two.
        precision: of the products.
        stages: tiles that are loaded ahead.
        all_cells: a mask is not a band, so every tile is looked at cell by cell.
        aligned: queries and keys are the same tokens.
        ahead: queries see keys after their own.
        basis, near, matches: columns, rounded up; 0 for none.
    """

    rows: int
    cols: int
    channels: int
    width: int
    precision: str
    stages: int
    all_cells: bool = False
    aligned: bool = False
    ahead: bool = False
    basis: int = 0
    near: int = 0
    matches: int = 0


class RowResults(NamedTuple):
    """Where results go: ``[flat head, query]``, the last three ``[column, flat head, query]``; None: not asked for."""

    log_sum: Any  # in units of log 2; infinite for queries that do not count
    entropy: Any
    largest: Any
    total: Any
    smallest: Any
    strongest: Any
    distance: Any
    groups: Any
    near: Any
    matches: Any


def site_of(source: ScoreSource) -> Site:
    """The tensors of a site, on its device."""
    seen, device = source.visibility, source.device

    def of_texts(values: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        return None if values is None else values.expand(source.batch, -1).to(device, dtype).contiguous()

    query_segments, key_segments = seen.segments or (None, None)
    query, key = source.query, source.key
    if device.type == "cpu" and query.dtype == torch.bfloat16:
        query, key = query.float(), key.float()  # Triton's interpreter multiplies the bit patterns of bfloat16
    sinks = source.sinks
    if sinks is not None and sinks.dim() == 1:
        sinks = sinks[None, :, None]
    return Site(
        query=_strided(query),
        key=_strided(key),
        bias=_bias(source),
        mask=None if seen.mask is None else _strided(seen.mask.to(device).view(torch.uint8)),
        key_seen=of_texts(seen.key_seen, torch.uint8),
        query_segments=of_texts(query_segments, torch.int32),
        key_segments=of_texts(key_segments, torch.int32),
        sinks=None if sinks is None else Strided(sinks, *_strides(sinks)),
    )


def sizes_of(source: ScoreSource, diagonal: int | None) -> Sizes:
    seen = source.visibility
    return Sizes(
        batch=source.batch,
        heads=source.heads,
        group=source.heads // source.key.shape[1],
        queries=source.queries,
        keys=source.keys,
        lower=None if seen.lower is None else max(seen.lower, -_FAR),
        upper=None if seen.upper is None else min(seen.upper, _FAR),
        diagonal=diagonal or 0,
    )


def scale_of(source: ScoreSource) -> Scale:
    bare = source.softcap is None and source.bias is None
    softcap = None if source.softcap is None else float(source.softcap)
    return Scale(float(source.scaling), softcap, float(source.scaling) * LOG2E if bare else 1.0)


def basis_of(groups: Sequence[GroupWeight], axes: Axes, columns: int, tile: int, like: Tensor) -> Basis:
    """
    Args:
        columns: of the basis, more than there are groups.
        tile: keys of a tile.
        like: the queries. Memberships and places are exact in bfloat16; the kernel splits what it multiplies with them.
    """
    exact = like.dtype == torch.float32 or like.device.type == "cpu"
    texts = axes.batch if any(key_group(axes, r.group).shape[0] > 1 for r in groups) else 1
    values = torch.zeros(
        texts, axes.keys, columns, dtype=torch.float32 if exact else torch.bfloat16, device=like.device
    )
    if groups:
        members = [key_group(axes, reduction.group).expand(texts, -1) for reduction in groups]
        values[..., : len(groups)] = torch.stack(members, -1).to(values)
    values[..., -1] = torch.arange(axes.keys, device=like.device) % tile
    return Basis(values, _stride(values, 0), len(groups))


def near_of(wanted: Sequence[OffsetWeight | WindowWeight], axes: Axes, device: torch.device) -> Near | None:
    if not wanted:
        return None
    widths = [reachable_width(axes, r.width) if isinstance(r, WindowWeight) else 0 for r in wanted]
    offsets = [reachable(axes, r.offset) if isinstance(r, OffsetWeight) else 0 for r in wanted]
    low, high = zip(*((at - width, at + width) for at, width in zip(offsets, widths, strict=True)), strict=True)
    bounds = torch.tensor([low, high], dtype=torch.int32, device=device)
    return Near(bounds[0], bounds[1], len(wanted), min(low), max(high))


def matches_of(wanted: Sequence[MatchWeight], axes: Axes, device: torch.device) -> Matches | None:
    if not wanted:
        return None
    numbered = [numbered_labels(axes, reduction.labels) for reduction in wanted]
    queries, keys = (torch.stack(parts).to(device, torch.int32).contiguous() for parts in zip(*numbered, strict=True))
    among = [0 if axes.diagonal is None else AMONG[reduction.among] for reduction in wanted]
    return Matches(queries, keys, torch.tensor(among, dtype=torch.int32, device=device), len(wanted))


def _bias(source: ScoreSource) -> Strided | None:
    if isinstance(source.bias, DenseBias):
        return _strided(source.bias.values)
    if isinstance(source.bias, RelativeBias):
        diagonals = source.bias.diagonals.contiguous()
        # One row further down, the same key is one offset less.
        return Strided(diagonals.view(-1)[source.bias.origin :], 0, _stride(diagonals, 0), -1)
    return None


def _strided(values: Tensor) -> Strided:
    values = values if values.stride(-1) == 1 else values.contiguous()
    return Strided(values, *_strides(values))


def _strides(values: Tensor) -> tuple[int, int, int]:
    return _stride(values, 0), _stride(values, 1), _stride(values, 2)


def _stride(values: Tensor, axis: int) -> int:
    """An axis of one is shared."""
    return values.stride(axis) if values.shape[axis] > 1 else 0
