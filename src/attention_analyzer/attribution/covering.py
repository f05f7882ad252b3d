"""Images and sounds without some of their cells, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.deletion import AT_ONCE, Deleter, DeletionKind, usual_deletion
from attention_analyzer.attribution.target import Layout
from attention_analyzer.errors import InputError
from attention_analyzer.media.processing import Processed
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.text.place import FilmCell, ImageCell, Place, SoundSpan

_OF_IMAGES: tuple[DeletionKind, ...] = ("mean", "blur", "noise")
_OF_SOUNDS: tuple[DeletionKind, ...] = ("silence", "noise")


def deleter_for(question: Question, kind: DeletionKind | None = None) -> Deleter | CellDeleter:
    """What deletes tokens of this question.

    Args:
        kind: one of :data:`.deletion.DELETIONS`; the usual one by default.

    Raises:
        InputError: tokens of this question are not deleted like this.
    """
    if question.processed is None:
        return Deleter(question, kind or usual_deletion(question))
    return CellDeleter(question, kind or ("mean" if question.processed.images else "silence"))


@dataclass(frozen=True)
class CellDeleter:
    """Runs variants of images or a sound in which some cells are covered in the original.

    Tokens of a text beside them, and tokens whose place is not known, always stay.

    Attributes:
        kind: "mean", "blur" or "noise" for images, "silence" or "noise" for a sound.
    """

    question: Question
    kind: DeletionKind

    def __post_init__(self) -> None:
        known, what = (_OF_IMAGES, "images") if self._processed.images else (_OF_SOUNDS, "a sound")
        if self.kind not in known:
            raise InputError(f"Cells of {what} are deleted by one of {', '.join(known)}, not by {self.kind!r}.")

    def can_delete(self, token: int) -> bool:
        """Whether it is known which part of an image or a sound a token shows."""
        return isinstance(self.question.tokens.places[token], (ImageCell, FilmCell, SoundSpan))

    def measures(self, kept: Tensor, progress: OnProgress | None = None) -> Tensor:
        """The target's measure of each variant: float64 ``[row]``.

        Args:
            kept: bool ``[row, token]``.
            progress: called with how many rows are done and how many there are.
        """
        question, name = self.question, self._processed.name
        assert name is not None
        found = []
        steps = ProgressCounter(len(kept), progress)
        with question.loaded.evaluating() as model, torch.no_grad():
            for rows in kept.split(question.loaded.at_once(AT_ONCE) if self._run_together else 1):
                values = torch.cat([self._processed.again(self._covered(row))[name] for row in rows])
                inputs = {
                    each: part.expand(len(rows), *part.shape[1:]) if self._run_together else part
                    for each, part in question.inputs.items()
                }
                inputs[name] = values.to(question.inputs[name])
                layout = Layout.whole(len(rows), len(question.tokens), question.loaded.device)
                found.append(question.target.measures(model(**inputs), layout).double().cpu())
                steps.advance(len(rows))
        return torch.cat(found)

    @property
    def _processed(self) -> Processed:
        assert self.question.processed is not None
        return self.question.processed

    @cached_property
    def _run_together(self) -> bool:
        """Whether every input has one row, so that rows can be variants."""
        return all(isinstance(part, Tensor) and part.dim() and len(part) == 1 for part in self.question.inputs.values())

    @cached_property
    def _fills(self) -> list[np.ndarray]:
        """What covered cells show, of each original's size."""
        made = self._processed
        if made.images:
            boxes = [place.box for place in self.question.tokens.places if isinstance(place, (ImageCell, FilmCell))]
            reach = max((max(box[2] - box[0], box[3] - box[1]) for box in boxes), default=1.0)
            return [_image_fill(image.pixels, self.kind, reach) for image in made.images]
        shuffled = np.random.default_rng(0).permutation
        return [
            np.zeros_like(sound.samples) if self.kind == "silence" else shuffled(sound.samples) for sound in made.sounds
        ]

    def _covered(self, kept: Tensor) -> list[np.ndarray]:
        """The originals with the cells of all tokens that are not kept covered."""
        made = self._processed
        changed = [image.pixels.copy() for image in made.images] or [sound.samples.copy() for sound in made.sounds]
        rate = made.sounds[0].rate if made.sounds else 0
        places = self.question.tokens.places
        for token in (~kept).nonzero()[:, 0].tolist():
            numbers, part = _part(places[token], rate)
            for number in numbers:
                changed[number][part] = self._fills[number][part]
        return changed


def _part(place: Place | None, rate: int) -> tuple[Sequence[int], tuple[slice, ...]]:
    """Which images, frames or sound a cell lies in, and where."""
    if isinstance(place, (ImageCell, FilmCell)):
        numbers = (place.image,) if isinstance(place, ImageCell) else range(place.first, place.last + 1)
        left, top, right, bottom = (max(0, round(side)) for side in place.box)
        return numbers, (slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1)))
    assert isinstance(place, SoundSpan)
    return (place.sound,), (slice(max(0, round(place.start * rate)), max(0, round(place.stop * rate))),)


def _image_fill(pixels: np.ndarray, kind: DeletionKind, reach: float) -> np.ndarray:
    if kind == "blur":
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(pixels.astype(np.float32), (reach, reach, 0)).round().astype(np.uint8)
    colors = pixels.reshape(-1, 3)
    if kind == "noise":
        return np.random.default_rng(0).permutation(colors).reshape(pixels.shape)
    return np.broadcast_to(colors.mean(0).round().astype(np.uint8), pixels.shape)


def windows(places: Sequence[Place | None], size: int) -> list[list[int]]:
    """Tokens that lie in each window of ``size`` × ``size`` neighboring cells, or ``size`` stretches of a sound.

    Windows reach over the borders, so that every cell lies in equally many of them.
    """
    at: dict[tuple[int, ...], int] = {}
    for token, place in enumerate(places):
        if isinstance(place, ImageCell):
            at[place.image, -1 if place.tile is None else place.tile, place.row, place.column] = token
        elif isinstance(place, FilmCell):
            at[place.first, -1, place.row, place.column] = token
        elif isinstance(place, SoundSpan):
            at[place.sound, -1, 0, sum(isinstance(each, SoundSpan) for each in places[:token])] = token
    steps = range(size)
    corners = {
        (image, tile, row - down, column - right)
        for image, tile, row, column in at
        for down in steps
        for right in steps
    }
    found = [
        [
            at[cell]
            for cell in ((image, tile, row + down, column + right) for down in steps for right in steps)
            if cell in at
        ]
        for image, tile, row, column in sorted(corners)
    ]
    return [list(each) for each in dict.fromkeys(map(tuple, found))]
