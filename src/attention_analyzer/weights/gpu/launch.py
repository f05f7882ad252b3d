"""The pass on a GPU: one Triton kernel for rows, one for what keys receive, behind the interface of the plain pass.

Nothing here waits for the device: whether anything is not finite is seen in the results.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.weights.cpu.compiled import VARIABLE
from attention_analyzer.weights.gpu.arguments import (
    Form,
    RowResults,
    Scale,
    Site,
    Sizes,
    basis_of,
    matches_of,
    near_of,
    scale_of,
    site_of,
    sizes_of,
)
from attention_analyzer.weights.linear_reductions import only_existing
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
    WeightedColumnSum,
    WindowWeight,
)
from attention_analyzer.weights.scores import ScoreSource

#: Reductions whose results the row kernel writes, and under which name.
_ROW_RESULTS: dict[type[Reduction], str] = {
    Entropy: "entropy",
    LargestWeight: "largest",
    TotalWeight: "total",
    SmallestWeight: "smallest",
    StrongestKey: "strongest",
    Distance: "distance",
}
#: Those of them that cost something, so that they are written only when they are asked for.
_OPTIONAL = {"smallest", "strongest", "distance"}
_COLUMN_SUMS = (ReceivedWeight, WeightedColumnSum)
_KNOWN = {*_ROW_RESULTS, OffsetWeight, WindowWeight, GroupWeight, MatchWeight, *_COLUMN_SUMS}
#: Groups of keys in one run of the row kernel: the columns of the widest basis less that of the places.
_MOST_GROUPS = 63
_WIDEST_CHANNELS = 256
#: The first version of Triton whose kernels take named tuples.
_OLDEST = (3, 3)


@cache
def triton_problem() -> str | None:
    """Why there is no Triton; None if there is."""
    if os.environ.get(VARIABLE, "").lower() in {"off", "0", "no"}:
        return f"The GPU kernel is turned off by {VARIABLE}."
    try:
        import triton
    except ImportError:
        return "The GPU kernel needs the package triton, which torch brings along for Linux with CUDA."
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < _OLDEST:
        return f"The GPU kernel needs triton 3.3 or newer; this is triton {triton.__version__}: update torch."
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
    if not source.scaling > 0:
        return f"The GPU kernel compares products before it scales them; this site scales them by {source.scaling}."
    unknown = [type(reduction).__name__ for reduction in reductions if type(reduction) not in _KNOWN]
    if unknown:
        return f"The GPU kernel does not know the reduction {unknown[0]}."
    if source.query.shape[-1] > _WIDEST_CHANNELS:
        return f"The GPU kernel holds heads of up to {_WIDEST_CHANNELS} channels, not {source.query.shape[-1]}."
    return triton_problem()


def row_form(channels: int, size: int) -> tuple[Form, int]:
    """How the row kernel cuts heads of so many channels, of numbers of ``size`` bytes; and its warps.

    Fitted to what registers and shared memory hold. Products of halves are exact in float32; those of float32 must not
    be rounded to TF32 first, so they run outside of tensor cores and take twice the room.
    """
    width = max(16, _power_of_two(channels))
    if size > 2 or width > 128:
        return Form(32, 32, channels, width, "ieee" if size > 2 else "tf32", 2), 8
    return Form(64, 32, channels, width, "tf32", 4), 4


def column_form(channels: int, size: int) -> tuple[Form, int]:
    """The same of the column kernel."""
    form, warps = row_form(channels, size)
    return (form._replace(rows=64, cols=128, stages=3), 4) if form.rows == 64 else (form, warps)


def gpu_gather(source: ScoreSource, reductions: Collection[Reduction], axes: Axes) -> dict[Reduction, Tensor]:
    """Results of all reductions, ``[flat head, query or key]``; :func:`problem` must have said None.

    The largest weights are NaN where queries, keys or sums are not finite: whoever reads them sees it.
    """
    wanted = list(dict.fromkeys(reductions))
    results = {reduction: reduction.start(axes, torch.empty(0, device=source.device)) for reduction in wanted}
    launch = Launch(source, axes)
    groups = [reduction for reduction in wanted if isinstance(reduction, GroupWeight)]
    others = [r for r in wanted if not isinstance(r, (GroupWeight, *_COLUMN_SUMS))]
    log_sums, found = launch.rows([*others, *groups[:_MOST_GROUPS]])
    results |= found
    for start in range(_MOST_GROUPS, len(groups), _MOST_GROUPS):
        results |= launch.rows(groups[start : start + _MOST_GROUPS])[1]
    for reduction in wanted:
        if isinstance(reduction, ReceivedWeight):
            results[reduction] = launch.columns(log_sums, None)
        elif isinstance(reduction, WeightedColumnSum):
            results[reduction] = launch.columns(log_sums, axes.factors[reduction.factors])
    if LargestWeight() in results:
        products = sum(part.sum(dtype=torch.float32) for part in (source.query, source.key))
        results[LargestWeight()] = results[LargestWeight()] + products * 0
    return results


class Launch:
    """One site on its device, ready for any number of runs of either kernel."""

    def __init__(self, source: ScoreSource, axes: Axes) -> None:
        self.axes = axes
        self.device = source.device
        self.site: Site = site_of(source)
        self.sizes: Sizes = sizes_of(source, axes.diagonal)
        self.scale: Scale = scale_of(source)
        self.counts = axes.valid.to(self.device, torch.uint8).contiguous()
        self.numbers = source.query.shape[-1], self.site.query.pointer.element_size()
        upper = source.visibility.upper
        self.aligned = axes.diagonal is not None
        self.variant: dict[str, Any] = {
            "all_cells": not source.visibility.is_band,
            "aligned": self.aligned,
            "ahead": self.aligned and (upper is None or upper > (axes.diagonal or 0)),
        }

    def rows(self, wanted: Sequence[Reduction]) -> tuple[Tensor, dict[Reduction, Tensor]]:
        """The log-sums of all rows, and the results by reduction."""
        import triton

        from attention_analyzer.weights.gpu.rows import row_kernel

        axes = self.axes
        groups = [r for r in wanted if isinstance(r, GroupWeight)]
        matches = [r for r in wanted if isinstance(r, MatchWeight)]
        offsets = [r for r in wanted if isinstance(r, OffsetWeight)] if self.aligned else []
        windows = [r for r in wanted if isinstance(r, WindowWeight)] if self.aligned else []
        near: list[OffsetWeight | WindowWeight] = [*offsets, *windows]
        own = {_ROW_RESULTS[type(r)]: r for r in wanted if type(r) in _ROW_RESULTS}
        if not self.aligned:
            own.pop("distance", None)
        out = self._results(own, len(groups), len(near), len(matches))
        columns = max(16, _power_of_two(len(groups) + 1)) if groups or "distance" in own else 0
        form, warps = row_form(*self.numbers)
        form = form._replace(**self.variant, basis=columns, near=_columns(near), matches=_columns(matches))
        basis = basis_of(groups, axes, columns, form.cols, self.site.query.pointer) if columns else None
        row_kernel[triton.cdiv(axes.queries, form.rows), axes.flat](
            *(self.site, self.sizes, self.scale, basis),
            *(near_of(near, axes, self.device), matches_of(matches, axes, self.device), self.counts, out, form),
            num_warps=warps,
        )
        results: dict[Reduction, Tensor] = {reduction: getattr(out, name) for name, reduction in own.items()}
        for asked, values in ((groups, out.groups), (matches, out.matches), (windows, _after(out.near, len(offsets)))):
            results.update(zip(asked, values if asked else (), strict=True))
        if offsets:
            existing = only_existing(axes, [r.offset for r in offsets], out.near[: len(offsets)])
            results.update(zip(offsets, existing, strict=True))
        return out.log_sum, results

    def columns(self, log_sums: Tensor, factors: Tensor | None) -> Tensor:
        """What keys receive, ``[flat head, key]``; ``factors [text or 1, query]`` say how much each query counts."""
        import triton

        from attention_analyzer.weights.gpu.columns import column_kernel

        axes = self.axes
        form, warps = column_form(*self.numbers)
        form = form._replace(all_cells=self.variant["all_cells"])
        received = torch.empty(axes.flat, axes.keys, device=self.device)
        if factors is not None:
            factors = factors.to(self.device, torch.float32).contiguous()
        each = 0 if factors is None or factors.shape[0] == 1 else axes.queries
        column_kernel[triton.cdiv(axes.keys, form.cols), axes.flat](
            *(self.site, self.sizes, self.scale, log_sums, factors, each, received, form), num_warps=warps
        )
        return received

    def _results(self, own: Iterable[str], groups: int, near: int, matches: int) -> RowResults:
        """Room for the results, allocated at once."""
        single = [name for name in RowResults._fields[:-3] if name not in _OPTIONAL or name in own]
        room = torch.empty(len(single) + groups + near + matches, self.axes.flat, self.axes.queries, device=self.device)
        parts: dict[str, Any] = dict.fromkeys(RowResults._fields)
        parts.update(zip(single, room, strict=False))
        start = len(single)
        for name, size in (("groups", groups), ("near", near), ("matches", matches)):
            if size:
                parts[name] = room[start : start + size]
            start += size
        return RowResults(**parts)


def _after(values: Tensor | None, start: int) -> Sequence[Tensor]:
    return () if values is None else tuple(values[start:])


def _columns(wanted: Sequence[Reduction]) -> int:
    """Columns of the kernel's sums, in steps, so that few variants are compiled; 0 for none."""
    return 0 if not wanted else max(4, _power_of_two(len(wanted)))


def _power_of_two(number: int) -> int:
    """The next one."""
    return 1 << max(0, number - 1).bit_length()
