"""The pass on a GPU: one Triton kernel for rows, one for what keys receive, behind the interface of the plain pass."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.weights.bias import DenseBias, RelativeBias
from attention_analyzer.weights.cpu.compiled import VARIABLE
from attention_analyzer.weights.linear_reductions import AMONG, key_group, numbered_labels, only_existing
from attention_analyzer.weights.reductions import (
    Axes,
    Distance,
    Entropy,
    GroupWeight,
    LargestWeight,
    MatchWeight,
    OffsetWeight,
    ReceivedWeight,
    Reduction,
    SmallestWeight,
    StrongestKey,
    TotalWeight,
    WindowWeight,
)
from attention_analyzer.weights.scores import ScoreSource

#: Rows of ``results`` in the kernel; the first is the log-sum.
_ROW_RESULTS: dict[type[Reduction], int] = {
    Entropy: 1,
    LargestWeight: 2,
    SmallestWeight: 3,
    TotalWeight: 4,
    StrongestKey: 5,
    Distance: 6,
}
_KNOWN = {*_ROW_RESULTS, OffsetWeight, WindowWeight, GroupWeight, MatchWeight, ReceivedWeight}
#: Groups of a key are the bits of one number.
_MOST_GROUPS = 31
#: An open side of the band; sums with it stay in 32 bits.
_OPEN = 1 << 29
_WIDEST_CHANNELS = 256


@cache
def triton_problem() -> str | None:
    """Why there is no Triton; None if there is."""
    if os.environ.get(VARIABLE, "").lower() in {"off", "0", "no"}:
        return f"The GPU kernel is turned off by {VARIABLE}."
    try:
        import triton  # noqa: F401
    except ImportError:
        return "The GPU kernel needs the package triton, which torch brings along for Linux with CUDA."
    return None


def why_not(source: ScoreSource, reductions: Collection[Reduction]) -> str | None:
    """Why the GPU kernel cannot do this; None if it can."""
    if source.device.type != "cuda":
        return f"The GPU kernel is for CUDA; this site is on {source.device}."
    return problem(source, reductions)


def problem(source: ScoreSource, reductions: Collection[Reduction]) -> str | None:
    """What keeps the kernel from this site, wherever it is."""
    if source.query.dtype not in {torch.float32, torch.float16, torch.bfloat16}:
        return f"The GPU kernel works in float32; this model works in {source.query.dtype}."
    if 0 in (source.batch, source.heads, source.queries, source.keys):
        return "The site is empty."
    unknown = [type(reduction).__name__ for reduction in reductions if type(reduction) not in _KNOWN]
    if unknown:
        return f"The GPU kernel does not know the reduction {unknown[0]}."
    if sum(isinstance(reduction, GroupWeight) for reduction in reductions) > _MOST_GROUPS:
        return f"The GPU kernel gathers at most {_MOST_GROUPS} groups of keys at once."
    if source.query.shape[-1] > _WIDEST_CHANNELS:
        return f"The GPU kernel holds heads of up to {_WIDEST_CHANNELS} channels, not {source.query.shape[-1]}."
    if (found := triton_problem()) is not None:
        return found
    if not all(bool(torch.isfinite(part.sum(dtype=torch.float32))) for part in (source.query, source.key)):
        return "Queries or keys are not finite; the plain pass finds out where."
    return None


@dataclass(frozen=True)
class _Tile:
    """Rows and keys of one tile and how it is run; fitted to what registers and shared memory hold."""

    rows: int
    cols: int
    channels: int
    warps: int
    stages: int


def _tile(channels: int, size: int) -> _Tile:
    padded = max(16, 1 << (channels - 1).bit_length())
    if size > 2 or padded > 128:  # float32 products run outside of tensor cores and take twice the room
        return _Tile(32, 64, padded, 4, 2)
    return _Tile(64, 64, padded, 4, 3)


def gpu_gather(source: ScoreSource, reductions: Collection[Reduction], axes: Axes) -> dict[Reduction, Tensor]:
    """Results of all reductions, ``[flat head, query or key]``; :func:`problem` must have said None."""
    import triton

    from attention_analyzer.weights.gpu.kernels import column_kernel, row_kernel

    results = {reduction: reduction.start(axes, torch.empty(0, device=source.device)) for reduction in reductions}
    site = _Site(source)
    gathered = _Gathered(list(results), axes, source.device)
    tile = _tile(source.query.shape[-1], source.query.element_size())
    flat = source.batch * source.heads
    rows = torch.empty(7, flat, source.queries, device=source.device)
    row_kernel[triton.cdiv(source.queries, tile.rows), flat](
        *site.scores, *site.sinks, *gathered.inputs,
        rows, gathered.groups, gathered.matches, gathered.near,
        *site.sizes, flat * source.queries, *site.band, axes.diagonal or 0, *site.scale, source.batch,
        *gathered.counts, *site.flags, source.sinks is not None, site.precision,
        tile.rows, tile.cols, tile.channels, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    for reduction in results:
        row = _ROW_RESULTS.get(type(reduction))
        if row is not None and not (isinstance(reduction, Distance) and axes.diagonal is None):
            results[reduction] = rows[row]
    gathered.put_into(results)
    if ReceivedWeight() in results:
        received = torch.empty(flat, source.keys, device=source.device)
        column_kernel[triton.cdiv(source.keys, tile.cols), flat](
            *site.scores, rows, axes.valid.to(torch.uint8).contiguous(), received,
            *site.sizes, *site.band, *site.scale, *site.flags, site.precision,
            tile.rows, tile.cols, tile.channels, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        results[ReceivedWeight()] = received
    return results


class _Site:
    """A site as the kernels take it. A tensor that a site does not have is stood in for by one that is not read."""

    def __init__(self, source: ScoreSource) -> None:
        seen, device = source.visibility, source.device
        nothing = torch.zeros(1, dtype=torch.int32, device=device)
        query, key = (part if part.stride(-1) == 1 else part.contiguous() for part in (source.query, source.key))
        if device.type == "cpu" and query.dtype == torch.bfloat16:
            query, key = query.float(), key.float()  # Triton's interpreter multiplies the bit patterns of bfloat16
        self.scores: list[Any] = [query, *_strides(query), key, *_strides(key)]
        if isinstance(source.bias, DenseBias):
            bias = source.bias.values if source.bias.values.stride(-1) == 1 else source.bias.values.contiguous()
            self.scores += [bias, *_strides(bias)]
        elif isinstance(source.bias, RelativeBias):
            # One row further down, the same key is one offset less.
            diagonals = source.bias.diagonals.contiguous()
            self.scores += [diagonals.view(-1)[source.bias.origin :], 0, _stride(diagonals, 0), -1]
        else:
            self.scores += [nothing, 0, 0, 0]
        mask = nothing if seen.mask is None else seen.mask.to(device).view(torch.uint8)
        mask = mask if mask.stride(-1) == 1 else mask.contiguous()
        self.scores += [mask, *((0, 0, 0) if seen.mask is None else _strides(mask))]
        key_seen = nothing if seen.key_seen is None else seen.key_seen.expand(source.batch, -1)
        segments = seen.segments or (nothing[None], nothing[None])
        self.scores.append(key_seen.to(device=device, dtype=torch.uint8).contiguous())
        self.scores += [
            part.expand(source.batch, -1).to(device=device, dtype=torch.int32).contiguous() for part in segments
        ]
        sinks = source.sinks
        if sinks is None:
            self.sinks: list[Any] = [nothing, 0, 0, 0]
        else:
            sinks = sinks[None, :, None] if sinks.dim() == 1 else sinks
            self.sinks = [sinks, *_strides(sinks)]
        self.sizes = [source.heads, source.heads // key.shape[1], source.queries, source.keys, query.shape[-1]]
        self.band = [-_OPEN if seen.lower is None else seen.lower, _OPEN if seen.upper is None else seen.upper]
        self.scale = [float(source.scaling), float(source.softcap or 1)]
        self.flags = [
            source.softcap is not None,
            source.bias is not None,
            seen.mask is not None,
            seen.key_seen is not None,
            seen.segments is not None,
        ]
        # Products of halves are exact in float32; those of float32 must not be rounded to TF32 first.
        self.precision = "ieee" if query.dtype == torch.float32 else "tf32"


class _Gathered:
    """What is gathered besides the row's own statistics, as the row kernel takes it."""

    def __init__(self, wanted: Sequence[Reduction], axes: Axes, device: torch.device) -> None:
        self.axes = axes
        self.group_wanted = [r for r in wanted if isinstance(r, GroupWeight)]
        self.match_wanted = [r for r in wanted if isinstance(r, MatchWeight)]
        near = wanted if axes.diagonal is not None else ()
        self.offsets = [r for r in near if isinstance(r, OffsetWeight)]
        self.near_wanted: list[OffsetWeight | WindowWeight] = [
            *self.offsets,
            *(r for r in near if isinstance(r, WindowWeight)),
        ]
        sizes = [len(part) for part in (self.near_wanted, self.group_wanted, self.match_wanted)]
        self.near, self.groups, self.matches = (
            torch.empty(max(1, size), axes.flat, axes.queries, device=device) for size in sizes
        )
        self.counts = [number for size in sizes for number in (size, 1 << max(0, size - 1).bit_length())]
        self.inputs = [*self._members(device), *self._labels(device), *self._reach(device)]

    def _members(self, device: torch.device) -> list[Any]:
        bits = torch.zeros(1, self.axes.keys, dtype=torch.int32, device=device)
        for number, reduction in enumerate(self.group_wanted):
            bits = bits | (key_group(self.axes, reduction.group).to(device=device, dtype=torch.int32) << number)
        return [bits.contiguous(), _stride(bits, 0)]

    def _labels(self, device: torch.device) -> list[Any]:
        if not self.match_wanted:
            return [torch.zeros(1, dtype=torch.int32, device=device)] * 3
        numbered = [numbered_labels(self.axes, reduction.labels) for reduction in self.match_wanted]
        queries, keys = (
            torch.stack(parts).to(device=device, dtype=torch.int32) for parts in zip(*numbered, strict=True)
        )
        among = [0 if self.axes.diagonal is None else AMONG[reduction.among] for reduction in self.match_wanted]
        return [queries.contiguous(), keys.contiguous(), torch.tensor(among, dtype=torch.int32, device=device)]

    def _reach(self, device: torch.device) -> list[Any]:
        reach = [(r.offset, r.offset) if isinstance(r, OffsetWeight) else (-r.width, r.width) for r in self.near_wanted]
        low, high = zip(*(reach or [(0, 0)]), strict=True)
        bounds = [torch.tensor(side, dtype=torch.int32, device=device) for side in (low, high)]
        return [*bounds, min(low), max(high)]

    def put_into(self, results: dict[Reduction, Tensor]) -> None:
        results.update(zip(self.group_wanted, self.groups, strict=False))
        results.update(zip(self.match_wanted, self.matches, strict=False))
        results.update(zip(self.near_wanted, self.near, strict=False))
        if count := len(self.offsets):
            existing = only_existing(self.axes, [r.offset for r in self.offsets], self.near[:count])
            results.update(zip(self.offsets, existing, strict=True))


def _stride(values: Tensor, axis: int) -> int:
    """An axis of one is shared."""
    return values.stride(axis) if values.shape[axis] > 1 else 0


def _strides(values: Tensor) -> list[int]:
    """Of the first three axes: batch, head and row."""
    return [_stride(values, axis) for axis in range(3)]
