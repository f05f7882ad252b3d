"""The blocked pass in one compiled sweep: the same statistics as :func:`.gather.gather`, from queries and keys.

Nothing but what a pass gathers is decided here; the arithmetic is row_pass.cpp's. Sites and reductions that it does not
know are left to the plain pass, with a reason.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attention_analyzer.weights.bias import DenseBias, RelativeBias
from attention_analyzer.weights.cpu.compiled import Pass, openmp_parallel, row_pass
from attention_analyzer.weights.linear_reductions import (
    AMONG,
    key_group,
    key_labels,
    numbered_labels,
    only_existing,
    reachable,
    reachable_width,
)
from attention_analyzer.weights.reductions import (
    Axes,
    Distance,
    DistanceSums,
    Entropy,
    GroupWeight,
    LargestWeight,
    MatchWeight,
    OffsetWeight,
    ReceivedWeight,
    Reduction,
    RunSums,
    SmallestWeight,
    StrongestKey,
    TotalWeight,
    WindowWeight,
)
from attention_analyzer.weights.scores import ScoreSource

#: As in row_pass.cpp.
PANEL, REGISTER_ROWS, LANES_AT_MOST = 64, 6, 16
#: Bytes of scores a thread holds at once: about half of a core's level-2 cache.
HELD_BYTES = 1 << 19
#: Fewest and most rows that are one piece of work.
FEWEST_ROWS_A_PIECE, MOST_PIECES = 512, 8
_ROW_REDUCTIONS: dict[type[Reduction], str] = {
    Entropy: "entropy",
    LargestWeight: "largest",
    SmallestWeight: "smallest",
    TotalWeight: "total",
    StrongestKey: "strongest",
    Distance: "distance",
}
_OTHERS = (OffsetWeight, WindowWeight, GroupWeight, MatchWeight, ReceivedWeight, RunSums, DistanceSums)
_OPEN = 1 << 40


def why_not(source: ScoreSource, reductions: Collection[Reduction]) -> str | None:
    """Why the compiled pass cannot do this; None if it can."""
    if source.device.type != "cpu":
        return f"The compiled pass is for the CPU; this site is on {source.device}."
    if source.query.dtype == torch.float64:
        return "The compiled pass works in float32; this model works in float64."
    if 0 in (source.batch, source.heads, source.queries, source.keys):
        return "The site is empty."
    unknown = [
        type(reduction).__name__ for reduction in reductions if type(reduction) not in {*_ROW_REDUCTIONS, *_OTHERS}
    ]
    if unknown:
        return f"The compiled pass does not know the reduction {unknown[0]}."
    sums = [reduction for reduction in reductions if isinstance(reduction, (RunSums, DistanceSums))]
    if len({each.labels for each in sums}) > 1 or len({each.without for each in sums} - {""}) > 1:
        return "The compiled pass takes runs of one kind, and one group of keys that is left out of them."
    if isinstance(source.bias, DenseBias) and source.bias.values.dtype != torch.float32:
        return f"The compiled pass takes a dense bias in float32, not {source.bias.values.dtype}."
    if (found := row_pass()).library is None:
        return found.reason
    if not all(bool(torch.isfinite(part.sum(dtype=torch.float32))) for part in (source.query, source.key)):
        return "Queries or keys are not finite; the plain pass finds out where."
    return None


@dataclass(frozen=True)
class _Sizes:
    """How a pass is cut: pieces of work, rows held at once, and a thread's scratch in floats."""

    pieces: int
    piece_rows: int
    rows: int
    scratch: int
    threads: int


def _sizes(source: ScoreSource) -> _Sizes:
    padded = -(-source.keys // PANEL) * PANEL
    fitting = HELD_BYTES // (4 * padded) // REGISTER_ROWS * REGISTER_ROWS
    rows = min(max(fitting, REGISTER_ROWS), 4 * REGISTER_ROWS, -(-source.queries // REGISTER_ROWS) * REGISTER_ROWS)
    pieces = max(1, min(MOST_PIECES, source.queries // FEWEST_ROWS_A_PIECE))
    piece_rows = -(-source.queries // pieces // rows) * rows if pieces > 1 else source.queries
    pieces = -(-source.queries // piece_rows)
    scratch = rows * (source.query.shape[-1] + 2 * LANES_AT_MOST + padded + LANES_AT_MOST)
    threads = max(1, min(torch.get_num_threads(), source.batch * source.heads * pieces))
    return _Sizes(pieces, piece_rows, rows, scratch, threads)


def fused_gather(source: ScoreSource, reductions: Collection[Reduction], axes: Axes) -> dict[Reduction, Tensor]:
    """Results of all reductions, ``[flat head, query or key]``; :func:`why_not` must have said None.

    Rows that do not count stay NaN.
    """
    library = row_pass().library
    assert library is not None
    like = torch.empty(0)
    results = {reduction: reduction.start(axes, like) for reduction in reductions}
    call = _Call(source, axes, _sizes(source))
    for reduction, result in results.items():
        if type(reduction) in _ROW_REDUCTIONS and not (isinstance(reduction, Distance) and axes.diagonal is None):
            call.put(_ROW_REDUCTIONS[type(reduction)], result)
    if axes.diagonal is not None:
        call.put_near(results)
    groups = [reduction for reduction in results if isinstance(reduction, GroupWeight)]
    group_weights = call.put_groups(groups)
    matches = [reduction for reduction in results if isinstance(reduction, MatchWeight)]
    match_weights = call.put_matches(matches)
    received = call.put_received() if ReceivedWeight() in results else None
    run_sums = call.put_runs([reduction for reduction in results if isinstance(reduction, (RunSums, DistanceSums))])
    library.row_pass(ctypes.byref(call.fields))
    call.finish_near(results)
    run_sums.finish(results)
    results.update(zip(groups, group_weights, strict=True))
    results.update(zip(matches, match_weights, strict=True))
    if received is not None:
        results[ReceivedWeight()] = received[..., : axes.keys].sum(0)
    return results


class _Call:
    """One call's fields, and the tensors that they point into."""

    def __init__(self, source: ScoreSource, axes: Axes, sizes: _Sizes) -> None:
        self.source, self.axes, self.sizes = source, axes, sizes
        self.kept: list[Tensor] = []
        self.near: list[tuple[Sequence[Reduction], Tensor]] = []
        seen = source.visibility
        self.fields = Pass(
            batch=source.batch,
            heads=source.heads,
            key_heads=source.key.shape[1],
            queries=source.queries,
            keys=source.keys,
            channels=source.query.shape[-1],
            lower=-_OPEN if seen.lower is None else seen.lower,
            upper=_OPEN if seen.upper is None else seen.upper,
            diagonal=axes.diagonal or 0,
            scaling=source.scaling,
            softcap=source.softcap or 0,
            chunks=sizes.pieces,
            chunk_rows=sizes.piece_rows,
            row_block=sizes.rows,
            scratch_size=sizes.scratch,
            threads=sizes.threads,
            parallel=openmp_parallel(),
        )
        self.put("scratch", torch.empty(sizes.threads, sizes.scratch))
        self.put("valid", axes.valid.to(torch.uint8))
        self._put_scores()
        self._put_visibility()

    def put(self, name: str, values: Tensor) -> Tensor:
        """Point a field at a tensor, which stays alive as long as the call."""
        if not name.startswith(("query", "bias", "mask", "sinks")):
            values = values.contiguous()
        self.kept.append(values)
        setattr(self.fields, name, values.data_ptr())
        return values

    def _strides(self, name: str, values: Tensor, offset: int = 0) -> None:
        """Batch, head and row strides of ``[batch or 1, head or 1, row or 1, …]``; an axis of one is shared."""
        for axis, part in enumerate(("batch", "head", "row")):
            setattr(self.fields, f"{name}_{part}", values.stride(axis) if values.shape[axis] > 1 else 0)
        if offset:
            setattr(self.fields, name, values.data_ptr() + offset * values.element_size())

    def _put_scores(self) -> None:
        source = self.source
        query = source.query.float()
        self._strides("query", self.put("query", query if query.stride(-1) == 1 else query.contiguous()))
        self.put("key", _packed(source.key.float()))
        if isinstance(source.bias, DenseBias):
            bias = source.bias.values
            self._strides("bias", self.put("bias", bias if bias.stride(-1) == 1 else bias.contiguous()))
        elif isinstance(source.bias, RelativeBias):
            diagonals = self.put("bias", source.bias.diagonals.float().contiguous())
            self._strides("bias", diagonals[None, :, None], offset=source.bias.origin)
            self.fields.bias_row = -1  # one row further down, the same key is one offset less
        if source.sinks is not None:
            sinks = source.sinks.float()
            sinks = sinks[None, :, None] if sinks.dim() == 1 else sinks
            self._strides("sinks", self.put("sinks", sinks))

    def _put_visibility(self) -> None:
        seen, batch, keys = self.source.visibility, self.source.batch, self.source.keys
        first = torch.zeros(batch, dtype=torch.int64)
        last = torch.full((batch,), keys)
        if seen.key_seen is not None:
            of_text = seen.key_seen.expand(batch, -1)
            count = of_text.sum(-1)
            first = of_text.int().argmax(-1)
            last = torch.where(count > 0, keys - of_text.int().flip(-1).argmax(-1), first)
            if bool((last - first != count).any()):  # padding in the middle
                self.put("key_seen", of_text.to(torch.uint8))
        self.put("first_key", first)
        self.put("last_key", last)
        if seen.segments is not None:
            for name, segment in zip(("query_segment", "key_segment"), seen.segments, strict=True):
                values = segment.expand(batch, -1).int().contiguous()
                self.kept.append(values)
                setattr(self.fields, name, values.data_ptr())
        if seen.mask is not None:
            mask = seen.mask if seen.mask.stride(-1) == 1 else seen.mask.contiguous()
            self._strides("mask", self.put("mask", mask.view(torch.uint8)))

    def put_near(self, results: dict[Reduction, Tensor]) -> None:
        """Distances, and the weights on fixed offsets and in windows."""
        axes = self.axes
        assert axes.diagonal is not None
        if Distance() in results:
            before = axes.queries + abs(axes.diagonal)
            apart = torch.arange(-before, axes.keys + abs(axes.diagonal) + PANEL, dtype=torch.float32).abs()
            self.put("apart", apart)
            self.fields.apart = apart.data_ptr() + before * apart.element_size()
        for kind, numbers, weights in (
            (OffsetWeight, "offsets", "offset_weights"),
            (WindowWeight, "windows", "window_weights"),
        ):
            wanted = [reduction for reduction in results if isinstance(reduction, kind)]
            if not wanted:
                continue
            reach = [
                reachable(axes, r.offset) if isinstance(r, OffsetWeight) else reachable_width(axes, r.width)
                for r in wanted
            ]
            self.put(numbers, torch.tensor(reach, dtype=torch.int64))
            values = self.put(weights, torch.full((len(wanted), axes.flat, axes.queries), torch.nan))
            setattr(self.fields, weights.replace("_weights", "_count"), len(wanted))
            self.near.append((wanted, values))

    def finish_near(self, results: dict[Reduction, Tensor]) -> None:
        for wanted, values in self.near:
            offsets = [reduction.offset for reduction in wanted if isinstance(reduction, OffsetWeight)]
            found = only_existing(self.axes, offsets, values) if offsets else values
            results.update(zip(wanted, found, strict=True))

    def put_groups(self, wanted: list[GroupWeight]) -> Tensor:
        axes = self.axes
        weights = torch.full((len(wanted), axes.flat, axes.queries), torch.nan)
        if wanted:
            shared = all(key_group(axes, r.group).shape[0] == 1 for r in wanted)
            padded = -(-axes.keys // PANEL) * PANEL
            members = torch.zeros(len(wanted), 1 if shared else axes.batch, padded)
            for row, reduction in zip(members, wanted, strict=True):
                row[:, : axes.keys] = key_group(axes, reduction.group)
            self.put("groups", members)
            self.put("group_weights", weights)
            self.fields.group_count = len(wanted)
            self.fields.groups_batch = 0 if shared else 1
        return weights

    def put_matches(self, wanted: list[MatchWeight]) -> Tensor:
        """Labels are renumbered, and each label's keys listed."""
        axes = self.axes
        weights = torch.full((len(wanted), axes.flat, axes.queries), torch.nan)
        if not wanted:
            return weights
        numbered = [numbered_labels(axes, reduction.labels) for reduction in wanted]
        most = max(int(keys.max()) for _, keys in numbered) + 1
        most = max(most, *(int(queries.max()) + 1 for queries, _ in numbered))
        each = torch.arange(most + 1).expand(axes.batch, -1).contiguous()
        starts = [torch.searchsorted(keys.sort(-1).values, each) for _, keys in numbered]
        self.put("match_starts", torch.stack(starts))
        self.put("match_queries", torch.stack([queries for queries, _ in numbered]).int())
        self.put("match_keys", torch.stack([keys.argsort(dim=-1, stable=True) for _, keys in numbered]).int())
        among = [0 if axes.diagonal is None else AMONG[reduction.among] for reduction in wanted]
        self.put("match_among", torch.tensor(among))
        self.put("match_weights", weights)
        self.fields.match_labels, self.fields.match_count = most, len(wanted)
        return weights

    def put_runs(self, wanted: list[RunSums | DistanceSums]) -> _RunSums:
        """Sums by runs of tokens and by distance."""
        axes = self.axes
        if not wanted:
            return _RunSums(axes, self.sizes)
        of_queries, of_keys = (part.expand(axes.batch, -1) for part in key_labels(axes, wanted[0].labels))
        query_runs, key_runs = (max(int(labels.max()) + 1, 0) for labels in (of_queries, of_keys))
        self.put("query_runs", of_queries.int())
        edges = torch.arange(key_runs + 1).expand(axes.batch, -1).contiguous()
        self.put("key_runs", torch.searchsorted(of_keys.contiguous(), edges))
        self.fields.query_run_count, self.fields.key_run_count = query_runs, key_runs
        origin = axes.queries + abs(axes.diagonal or 0)
        self.fields.offset_origin = origin
        self.fields.offset_size = size = origin + axes.keys + abs(axes.diagonal or 0) + PANEL
        sums, offsets = {}, {}
        for reduction in wanted:
            name = "_without" if reduction.without else ""
            if reduction.without:
                group = key_group(axes, reduction.without).expand(axes.batch, -1)
                self.put("left_out", group.to(torch.uint8))
            if isinstance(reduction, RunSums):
                empty = torch.zeros(axes.flat, query_runs + self.sizes.pieces, key_runs, dtype=torch.float64)
                sums[reduction] = self.put(f"run_sums{name}", empty)
            elif name not in offsets:
                offsets[name] = self.put(f"offset_sums{name}", torch.empty(self.sizes.pieces, axes.flat, size))
        return _RunSums(axes, self.sizes, sums, offsets, origin, of_queries)

    def put_received(self) -> Tensor:
        padded = -(-self.axes.keys // PANEL) * PANEL
        return self.put("received", torch.empty(self.sizes.pieces, self.axes.flat, padded))


@dataclass(frozen=True)
class _RunSums:
    """What a pass writes for sums by runs and distances, and how the pieces of work are put together."""

    axes: Axes
    sizes: _Sizes
    sums: Mapping[RunSums, Tensor] = field(default_factory=dict)
    offsets: Mapping[str, Tensor] = field(default_factory=dict)
    origin: int = 0
    of_queries: Tensor | None = None

    def finish(self, results: dict[Reduction, Tensor]) -> None:
        for run_sums, parts in self.sums.items():
            self._join(results[run_sums], parts)
        for reduction, result in results.items():
            if isinstance(reduction, DistanceSums):
                name = "_without" if reduction.without else ""
                running = torch.nn.functional.pad(self.offsets[name].sum(0, dtype=torch.float64).cumsum(-1), (1, 0))
                # Distances from e on stand up to place origin - e.
                stops = (self.origin - torch.tensor(reduction.edges) + 1).clamp(0, running.shape[-1] - 1)
                result -= running[:, stops].diff(dim=-1)

    def _join(self, result: Tensor, parts: Tensor) -> None:
        """A piece's rows stand as many places further on as it has pieces before it."""
        assert self.of_queries is not None
        for text in range(self.axes.batch):
            flat = slice(text * self.axes.heads, (text + 1) * self.axes.heads)
            for piece in range(self.sizes.pieces):
                rows = slice(piece * self.sizes.piece_rows, (piece + 1) * self.sizes.piece_rows)
                counted = self.of_queries[text, rows]
                counted = counted[counted >= 0]
                if len(counted):
                    low, high = int(counted[0]), int(counted[-1]) + 1
                    result[flat, low:high] += parts[flat, low + piece : high + piece]


def _packed(key: Tensor) -> Tensor:
    """``[batch, key head, key, channel]`` to ``[batch, key head, panel, channel, PANEL]``; missing keys are zero."""
    batch, heads, keys, channels = key.shape
    packed = key.new_zeros(batch, heads, -(-keys // PANEL), channels, PANEL)
    whole = keys // PANEL
    packed[:, :, :whole] = key[:, :, : whole * PANEL].unflatten(2, (whole, PANEL)).transpose(-1, -2)
    packed[:, :, whole:, :, : keys % PANEL] = key[:, :, None, whole * PANEL :].transpose(-1, -2)
    return packed
