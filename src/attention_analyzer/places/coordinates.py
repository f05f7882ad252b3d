"""Which pixel of the original image each number of a processor's output was made of, measured with ramps.

A processor scales, crops, pads, cuts and normalizes, and each of these is linear in the pixels. So an image that is as
bright as its x coordinate says comes out with every number telling its x coordinate, between what it is for a black
image and for a white one. Numbers that are the same for both are padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.places.cells import Cells
from attention_analyzer.text.place import Box

#: From images (uint8 ``[row, column, 3]`` each) to the processor's output.
Read = Callable[[Sequence[np.ndarray]], Tensor]
#: What eight bits cannot tell apart, as a share of the image's side, and of a cell.
_RAMP_ERROR = 1.5 / 255
_CELL_ERROR = 0.2
_TRIED = 4


@dataclass(frozen=True)
class Coordinates:
    """Where each number of a processor's output comes from.

    Attributes:
        x, y: in pixels of the original image; NaN for padding. float32 of the output's shape.
        image: int64 of the output's shape: which image; -1 for padding.
        sizes: height and width of each image.
    """

    x: Tensor
    y: Tensor
    image: Tensor
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Location:
    """Where a cell lies: which image, which of its tiles, which row and column there, and its pixels.

    Of a film, ``image`` is the cell's last frame and ``first`` the first one.
    """

    image: int
    tile: int | None
    row: int
    column: int
    box: Box
    first: int | None = None


def measure(read: Read, sizes: Sequence[tuple[int, int]]) -> Coordinates:
    """Run a processor on ramps of these sizes (height, width)."""
    black = read([_filled(size, 0) for size in sizes]).float()
    image = torch.full(black.shape, -1)
    spans = torch.zeros_like(black)
    for number in range(len(sizes)):
        white = read([_filled(size, 255 if each == number else 0) for each, size in enumerate(sizes)]).float()
        lit = (white - black).abs() > 1e-6
        image[lit], spans[lit] = number, (white - black)[lit]
    along = []
    for axis in (1, 0):
        ramp = (read([_ramp(size, axis) for size in sizes]).float() - black) / spans
        length = torch.tensor([size[axis] for size in sizes], dtype=torch.float32)[image.clamp_min(0)]
        along.append(torch.where(image >= 0, ramp * length, torch.nan))
    return Coordinates(along[0], along[1], image, tuple(sizes))


def locations(cells: Cells, found: Coordinates) -> list[Location | None] | None:
    """Where each cell lies; None for a cell of padding, and for all of them if they are no regular grid."""
    number = cells.number.expand(found.image.shape).reshape(-1)
    seen = (number >= 0) & (found.image.reshape(-1) >= 0)
    inside = torch.bincount(number[seen], minlength=len(cells))
    whole = torch.bincount(number[number >= 0], minlength=len(cells))
    index = number[seen]
    centers = [
        torch.zeros(len(cells), dtype=torch.float64).index_add_(0, index, along.reshape(-1)[seen].double())
        / inside.clamp_min(1)
        for along in (found.x, found.y)
    ]
    owner = torch.full((len(cells),), -1).scatter_reduce_(0, index, found.image.reshape(-1)[seen], "amax")
    earliest = torch.full((len(cells),), len(found.sizes)).scatter_reduce_(
        0, index, found.image.reshape(-1)[seen], "amin"
    )
    spread = torch.zeros(2, len(cells))
    for axis, along in enumerate((found.x, found.y)):
        values = along.reshape(-1)[seen]
        most = torch.full((len(cells),), -torch.inf).scatter_reduce_(0, index, values, "amax")
        least = torch.full((len(cells),), torch.inf).scatter_reduce_(0, index, values, "amin")
        spread[axis] = most - least
    result: list[Location | None] = [None] * len(cells)
    for image, (height, width) in enumerate(found.sizes):
        mine = [cell for cell in range(len(cells)) if int(owner[cell]) == image]
        tiles: dict[tuple[int, ...], list[int]] = {}
        for cell in mine:
            tile, frame, _, _ = cells.places[cell]
            tiles.setdefault((tile, frame), []).append(cell)
        for order, members in enumerate(tiles.values()):
            full = [cell for cell in members if int(inside[cell]) == int(whole[cell])]
            axes = []
            for axis, length in ((0, width), (1, height)):
                at = 3 if axis == 0 else 2
                named = None if cells.flat else [cells.places[cell][at] for cell in members]
                axes.append(
                    _edges(
                        centers[axis][members].numpy(),
                        np.isin(members, full),
                        named,
                        float(spread[axis][full].mean()) if full else 0.0,
                        length,
                    )
                )
            if axes[0] is None or axes[1] is None:
                return None
            for place, cell in enumerate(members):
                (column, left, right), (row, top, bottom) = axes[0][place], axes[1][place]
                box = (left, top, right, bottom)
                number_of_tile = order if len(tiles) > 1 else None
                result[cell] = Location(image, number_of_tile, row, column, box, int(earliest[cell]))
    return result


def verified(read: Read, cells: Cells, found: Coordinates, places: Sequence[Location | None]) -> bool:
    """Whether pixels changed inside the box of a cell change that cell most, tried on a few cells.

    This runs the whole way from original images, so it would find out a ramp that misled.
    """
    generator = np.random.default_rng(982_451_653)
    images = [np.full((*size, 3), 128, np.uint8) for size in found.sizes]
    plain = read(images).float()
    known = [cell for cell, place in enumerate(places) if place is not None and _area(place.box) >= 4]
    number = cells.number.expand(plain.shape).reshape(-1)
    for cell in generator.permutation(known)[:_TRIED].tolist():
        place = places[cell]
        assert place is not None
        left, top, right, bottom = place.box
        middle = (slice(*_middle(top, bottom)), slice(*_middle(left, right)))
        changed = [image.copy() for image in images]
        changed[place.image][middle] = 255
        by = (read(changed).float() - plain).abs().reshape(-1)
        total = torch.zeros(len(cells)).index_add_(0, number.clamp_min(0), by * (number >= 0))
        same_tile = [
            each
            for each in range(len(cells))
            if (other := places[each]) is not None and (other.image, other.tile) == (place.image, place.tile)
        ]
        if max(same_tile, key=lambda each: float(total[each])) != cell:
            return False
    return True


def _edges(
    centers: np.ndarray, full: np.ndarray, named: list[int] | None, spread: float, length: int
) -> list[tuple[int, float, float]] | None:
    """Per cell its number along one axis, and where it begins and ends there; None if cells are not evenly spaced."""
    if not full.any():
        return None
    numbers = np.array(named) if named is not None else _ranks(centers, spread / 2)
    fitted = sorted(set(numbers[full].tolist()))
    if len(fitted) > 1:
        step, start = np.polyfit(numbers[full], centers[full], 1)
    else:  # one cell: as wide as the numbers in it say
        step = max(spread, 1.0) * (1 + 1 / 8)
        start = float(centers[full].mean()) - step * fitted[0]
    error = np.abs(start + step * numbers[full] - centers[full]).max()
    if step <= 0 or error > max(_RAMP_ERROR * length, _CELL_ERROR * step):
        return None
    begins = np.clip(start + step * (numbers - 0.5), 0, length)
    ends = np.clip(start + step * (numbers + 0.5), 0, length)
    return [(int(n), round(float(b), 2), round(float(e), 2)) for n, b, e in zip(numbers, begins, ends, strict=True)]


def _ranks(centers: np.ndarray, apart: float) -> np.ndarray:
    """The number of each center among those that differ by more than ``apart``."""
    order = np.argsort(centers)
    rises = np.diff(centers[order]) > max(apart, 1e-6)
    ranks = np.empty(len(centers), dtype=int)
    ranks[order] = np.concatenate([[0], rises.cumsum()])
    return ranks


def _filled(size: tuple[int, int], value: int) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def _ramp(size: tuple[int, int], axis: int) -> np.ndarray:
    along = np.round(255 * (np.arange(size[axis]) + 0.5) / size[axis]).astype(np.uint8)
    plane = along[:, None] if axis == 0 else along[None]
    return np.ascontiguousarray(np.broadcast_to(plane[..., None], (*size, 3)))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _middle(low: float, high: float) -> tuple[int, int]:
    """The pixels of the middle half of a stretch, at least one."""
    first = int(np.floor((3 * low + high) / 4))
    return first, max(first + 1, int(np.ceil((low + 3 * high) / 4)))
