"""Which cell of its input each token shows: groups of cells are changed, and the tokens that change spell its number.

With ``n`` cells there are ``log2 n`` bits. For each bit, the cells whose number has it are changed, then all others.
A token that shows exactly one cell changes in exactly one of the two, for every bit, and so spells the cell's number; a
token of several cells changes in both for some bit. No grid is assumed and no size is guessed: sizes of cells are only
tried, and a wrong one fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attention_analyzer.places.probe import NotReachedError, Probe

#: Cells that side by side make one token in models that merge them, as (frames, rows, columns) or rows of a flat input.
_MERGES = (1, 2, 3, 4, 7, 8)
_FLAT_MERGES = (1, 4, 9, 16)
#: More cells than tokens are possible where padding was cut off, but not much more.
_MOST_CELLS_PER_TOKEN = 8
_MOST_CELLS = 1 << 16


@dataclass(frozen=True)
class Cells:
    """The cells that one input is cut into.

    Attributes:
        number: int64 of the input's shape with the channel axis as 1: the cell of each element, -1 for none.
        places: per cell its tile (index along the axes before rows and columns), first frame, row and column.
        frames: how many of the second axis make a cell.
        flat: whether the input is a list of patches.
    """

    number: Tensor
    places: tuple[tuple[int, int, int, int], ...]
    frames: int = 1
    flat: bool = False

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Found:
    """Which cell each token shows.

    Attributes:
        cells: the cells of the input.
        of_token: per token the number of its cell, or None if no cell changes it.
    """

    cells: Cells
    of_token: tuple[int | None, ...]


def find_cells(probe: Probe) -> Found | None:
    """The cell of each token that the probed module reads; None if it cannot be verified."""
    values: Tensor = probe.inputs[probe.name]
    try:
        base, other = _noise(values, 1), _noise(values, 2)
        ends = probe.run(probe.varied([base, base, other]))
        if not torch.equal(ends[0], ends[1]):
            return None  # what the module reads is drawn at random
        shown = probe.changed(ends[:1], ends[2:])[0]
        count = int(shown.sum())
        if not count:
            return None
        for cells in _candidates(probe.model, values):
            if count <= len(cells) <= min(_MOST_CELLS, _MOST_CELLS_PER_TOKEN * count):
                found = _spelled(probe, cells, ends[:1], shown, (base, other))
                if found is not None:
                    return Found(cells, found)
    except NotReachedError:
        return None
    return None


def _spelled(
    probe: Probe, cells: Cells, plain: Tensor, shown: Tensor, noise: tuple[Tensor, Tensor]
) -> tuple[int | None, ...] | None:
    bits = max(1, (len(cells) - 1).bit_length())
    base, other = noise
    number = cells.number.to(base.device)
    groups = [(number >= 0) & (((number >> bit) & 1) == has) for bit in range(bits) for has in (1, 0)]
    variants = [torch.where(group, other, base) for group in groups]
    changed = probe.changed(plain, probe.run(probe.varied(variants))).view(bits, 2, -1)
    if bool((changed[:, 0] == changed[:, 1])[:, shown].any()):
        return None  # a token of several cells, or of none of them
    spelled = (changed[:, 0].long() << torch.arange(bits, device=changed.device)[:, None]).sum(0)
    result = tuple(cell if is_shown else None for cell, is_shown in zip(spelled.tolist(), shown.tolist(), strict=True))
    known = [cell for cell in result if cell is not None]
    if len(set(known)) != len(known) or max(known) >= len(cells):
        return None
    return result


def _noise(like: Tensor, seed: int) -> Tensor:
    """Numbers of the size of normalized pixels that no norm makes equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator).to(like)


def _candidates(model: nn.Module, values: Tensor) -> Iterator[Cells]:
    if values.dim() in (2, 3):
        for merged in _FLAT_MERGES:
            if values.shape[-2] % merged == 0:
                yield _flat(values, merged)
        return
    axis = _channel_axis(values)
    seen: set[tuple[int, int, int]] = set()
    for frames, height, width in _patch_sizes(model, values.shape[axis]):
        for merge in _MERGES:
            size = (frames, height * merge, width * merge)
            if size not in seen and size[1] <= values.shape[-2] and size[2] <= values.shape[-1]:
                seen.add(size)
                yield _grid(values, size, axis)


def _channel_axis(values: Tensor) -> int:
    """``[…, channel, row, column]``, or ``[image, channel, frame, row, column]``."""
    axis = values.dim() - 3
    if values.dim() == 5 and values.shape[axis] not in (1, 3) and values.shape[1] in (1, 3):
        return 1
    return axis


def _grid(values: Tensor, size: tuple[int, int, int], channel: int) -> Cells:
    """Cells of ``size`` (frames, rows, columns); rows and columns that are left over belong to none."""
    shape = list(values.shape)
    lead = [axis for axis in range(values.dim() - 2) if axis != channel]
    timed = lead[-1] if values.dim() == 5 else None
    frames = size[0] if timed is not None else 1
    number = torch.zeros([1 if axis == channel else length for axis, length in enumerate(shape)], dtype=torch.long)
    inside = torch.ones_like(number, dtype=torch.bool)
    steps = [(axis, frames if axis == timed else 1) for axis in lead]
    steps += [(values.dim() - 2, size[1]), (values.dim() - 1, size[2])]
    counts = []
    for axis, step in steps:
        count = shape[axis] // step
        counts.append(count)
        along = torch.arange(shape[axis]) // step
        view = along.view([-1 if each == axis else 1 for each in range(values.dim())])
        number = number * count + view
        inside &= view < count
    places = []
    for cell in range(int(torch.tensor(counts).prod())):
        rest = cell
        parts = []
        for count in reversed(counts):
            rest, part = divmod(rest, count)
            parts.append(part)
        column, row, *before = parts
        if timed is None:
            tile = 0
            for count, part in zip(counts[:-2], reversed(before), strict=True):
                tile = tile * count + part
            places.append((tile, 0, row, column))
        else:
            tile = before[-1] if len(before) > 1 else 0
            places.append((tile, before[0] * frames, row, column))
    return Cells(number.where(inside, -1), tuple(places), frames)


def _flat(values: Tensor, merged: int) -> Cells:
    """Cells of ``merged`` patches each, of an input that is a list of patches ``[…, patch, number]``."""
    count = values.shape[-2] // merged
    number = (torch.arange(values.shape[-2]) // merged).view([1] * (values.dim() - 2) + [-1, 1])
    return Cells(number, tuple((0, 0, 0, cell) for cell in range(count)), flat=True)


def _patch_sizes(model: nn.Module, channels: int) -> Iterator[tuple[int, int, int]]:
    """Sizes of patches (frames, rows, columns) that the model's convolutions and configurations name."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.in_channels == channels:
            stride = tuple(int(step) for step in module.stride)
            if tuple(module.kernel_size) == stride:
                yield (1, *stride) if len(stride) == 2 else stride  # type: ignore[misc]
    for holder in _configurations(getattr(model, "config", None)):
        size = getattr(holder, "patch_size", None)
        frames = getattr(holder, "tubelet_size", None) or getattr(holder, "temporal_patch_size", None) or 1
        if isinstance(size, int) and size > 0 and isinstance(frames, int):
            yield frames, size, size
        elif isinstance(size, (list, tuple)) and len(size) == 2:
            yield 1, int(size[0]), int(size[1])


def _configurations(config: object) -> Iterator[object]:
    if config is None:
        return
    yield config
    for name in getattr(config, "sub_configs", None) or ():
        yield from _configurations(getattr(config, name, None))
