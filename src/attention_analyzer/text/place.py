"""Where a token lies, if it is not characters of a text: a cell of an image, frames of a film, seconds of a sound.

Places are plain data. They are measured on processor and model in :mod:`attention_analyzer.places`; a token whose place
could not be verified has none and is shown by its number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from attention_analyzer.errors import InputError
from attention_analyzer.fields import shown

#: Left, top, right and bottom, in pixels of the original image.
Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageCell:
    """A cell of an image.

    Attributes:
        image: which of the images, from 0.
        row, column: of the cell in its tile, from 0.
        box: left, top, right, bottom in pixels of the original image.
        tile: which tile of the image, if the processor cuts it into several (a thumbnail counts as one).
    """

    image: int
    row: int
    column: int
    box: Box
    tile: int | None = None


@dataclass(frozen=True)
class SoundSpan:
    """A stretch of a sound.

    Attributes:
        sound: which of the sounds, from 0.
        start, stop: in seconds from the sound's beginning; padding lies after its end.
    """

    sound: int
    start: float
    stop: float


@dataclass(frozen=True)
class FilmCell:
    """A cell in some frames of a film.

    Attributes:
        film: which of the films, from 0.
        first, last: frames, from 0; the last one is included.
        row, column: of the cell, from 0.
        box: left, top, right, bottom in pixels of the original frames.
    """

    film: int
    first: int
    last: int
    row: int
    column: int
    box: Box


@dataclass(frozen=True)
class Learned:
    """A token that shows no part of the input: a parameter of the model makes it.

    Attributes:
        role: "class", "distillation", "register", "query" or "separator".
    """

    role: str


Place: TypeAlias = ImageCell | SoundSpan | FilmCell | Learned
_KINDS: dict[str, type[Place]] = {"image": ImageCell, "sound": SoundSpan, "film": FilmCell, "learned": Learned}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def place_to_dict(place: Place | None) -> dict[str, Any] | None:
    """Plain data, for JSON."""
    return None if place is None else {"kind": _NAMES[type(place)], **asdict(place)}


def place_from_dict(data: object) -> Place | None:
    """The inverse of :func:`place_to_dict`.

    Raises:
        InputError: the data describe no place.
    """
    if data is None:
        return None
    if not isinstance(data, dict) or data.get("kind") not in _KINDS:
        raise InputError(f"{shown(data)} describes no place of a token.")
    kind = _KINDS[data["kind"]]
    entries = {name: value for name, value in data.items() if name != "kind"}
    if set(entries) != set(kind.__dataclass_fields__) or not all(map(_fits, entries.items())):
        raise InputError(f"{shown(data)} describes no place of a token.")
    if "box" in entries:
        entries["box"] = tuple(float(side) for side in entries["box"])
    return kind(**entries)


def _fits(entry: tuple[str, object]) -> bool:
    name, value = entry
    if name == "box":
        return isinstance(value, list | tuple) and len(value) == 4 and all(map(_is_number, value))
    if name == "role":
        return isinstance(value, str)
    if name == "tile" and value is None:
        return True
    return _is_number(value) and (name in ("start", "stop") or isinstance(value, int))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
