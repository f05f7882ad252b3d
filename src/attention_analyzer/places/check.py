"""Places held against the original: pixels or samples are changed there, and the token there must change most.

This does not use what places were measured with: it goes from the original image, film or sound through the processor
and the model up to the attention layer, for a few random tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.media.processing import Processed
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.places.find import input_name
from attention_analyzer.places.probe import NotReachedError, Probe
from attention_analyzer.random_state import restored_draws
from attention_analyzer.text.place import FilmCell, ImageCell, Learned, Place, SoundSpan
from attention_analyzer.text.tokens import Tokens

#: Tokens that are tried in each axis, unless the caller says otherwise.
TRIED = 4
#: Share of a cell's sides that is changed, around its middle.
_MIDDLE = 0.5
#: Equal ids in a row that are marks for an image.
_MARKS = 4


@dataclass(frozen=True)
class PlaceCheck:
    """What is known of the places on one axis, and how they stood the trial.

    Attributes:
        site: name of the first layer with these keys.
        tokens: how many keys there are; ``placed``: with a cell or a stretch; ``learned``: made by a parameter.
        roles: of learned tokens, such as "class".
        text: tokens of a text.
        grid: what the places are, in words; "" without any.
        tried: tokens that were tried; ``wrong``: those whose part of the original changed another token most.
    """

    site: str
    tokens: int
    placed: int
    learned: int
    text: int
    roles: tuple[str, ...]
    grid: str
    tried: int
    wrong: int

    @property
    def by_number(self) -> int:
        """Tokens whose place could not be verified."""
        return self.tokens - self.placed - self.learned - self.text

    @property
    def sentence(self) -> str:
        """One line about this axis."""
        parts = [f"{self.placed} of {self.tokens} tokens are {self.grid}"] if self.placed else []
        if self.learned:
            parts.append(f"{self.learned} learned ({', '.join(self.roles)})")
        if self.text:
            parts.append(f"{self.text} of the text")
        if self.by_number:
            parts.append(f"{self.by_number} shown by number")
        if self.tried:
            parts.append(f"{self.tried - self.wrong} of {self.tried} tried in the original are right")
        return "; ".join(parts)


def check_places(
    loaded: LoadedModel,
    record: CapturedAttention,
    inputs: Mapping[str, Any],
    processed: Processed,
    *,
    tried: int = TRIED,
    seed: int = 0,
) -> list[PlaceCheck]:
    """Try places of every axis of a record, but for those that hold a text alone.

    Args:
        inputs: of the forward; ``processed``: how they were made.
        tried: how many tokens of each axis are tried; ``seed``: which.
    """
    checks: list[PlaceCheck] = []
    seen: set[Any] = set()
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with loaded.evaluating() as model, torch.no_grad(), restored_draws(devices):
        given = loaded.to_device(dict(inputs))
        name = input_name(given)
        for number, entry in enumerate(record.entries):
            axis = (entry.site.stack, entry.site.kind, entry.keys)
            if axis in seen or name is None:
                continue
            seen.add(axis)
            places = entry.keys.places or (None,) * len(entry.keys)
            text = _text_tokens(entry.keys)
            if text == len(entry.keys):
                continue
            before = tuple(dict.fromkeys(each.site.module for each in record.entries[:number]))
            probe = Probe(model, entry.site.module, before, given, name, len(entry.keys), entry.site.kind == "cross")
            generator = np.random.default_rng(seed)
            lying = [at for at, place in enumerate(places) if _inside(place, processed)]
            chosen = generator.permutation(lying)[:tried].tolist()
            wrong = sum(not _holds(probe, processed, places, token) for token in chosen)
            learned = [place.role for place in places if isinstance(place, Learned)]
            checks.append(
                PlaceCheck(
                    entry.site.name,
                    len(places),
                    sum(place is not None and not isinstance(place, Learned) for place in places),
                    len(learned),
                    text,
                    tuple(dict.fromkeys(learned)),
                    _grid(places),
                    len(chosen),
                    wrong,
                )
            )
    return checks


def _text_tokens(tokens: Tokens) -> int:
    """How many tokens are of a text; marks that stand for an image come in rows of equal ids."""
    if not tokens.ids:
        return 0
    places = tokens.places or (None,) * len(tokens)
    ids = tokens.ids
    marks = {
        at + step
        for at in range(len(ids) - _MARKS + 1)
        if len(set(ids[at : at + _MARKS])) == 1
        for step in range(_MARKS)
    }
    return sum(place is None and at not in marks for at, place in enumerate(places))


def _inside(place: Place | None, processed: Processed) -> bool:
    """Whether a place holds pixels or samples that can be changed; padding behind a sound holds none."""
    if isinstance(place, SoundSpan):
        return bool(processed.sounds) and place.stop < processed.sounds[place.sound].seconds
    return isinstance(place, (ImageCell, FilmCell)) and min(_sides(place)) >= 1


def _sides(place: ImageCell | FilmCell) -> tuple[float, float]:
    left, top, right, bottom = place.box
    return right - left, bottom - top


def _holds(probe: Probe, processed: Processed, places: tuple[Place | None, ...], token: int) -> bool:
    """Whether the token that lies in the changed part of the original changes most, or one that lies there, too."""
    place = places[token]
    assert place is not None
    try:
        values = [processed.again(each)[probe.name].to(probe.inputs[probe.name]) for each in _changed(processed, place)]
        read = torch.cat([probe.run(probe.varied([value])) for value in values])
    except NotReachedError:
        return False
    by = (read[1] - read[0]).abs().amax(-1)
    known = [at for at, other in enumerate(places) if other is not None and not isinstance(other, Learned)]
    most = max(known, key=lambda at: float(by[at]))
    return float(by[most]) > 0 and (most == token or _meet(places[most], place))


def _meet(one: Place | None, other: Place) -> bool:
    """Whether two places share a part of the original: tiles overlap, and a thumbnail shows everything."""
    if isinstance(one, SoundSpan) and isinstance(other, SoundSpan):
        middle = (other.start + other.stop) / 2
        reach = other.stop - other.start
        return one.start - reach <= middle <= one.stop + reach
    if isinstance(one, ImageCell) and isinstance(other, ImageCell) and one.image == other.image:
        if one.tile == other.tile:
            return False
        middle_x, middle_y = (other.box[0] + other.box[2]) / 2, (other.box[1] + other.box[3]) / 2
        return one.box[0] <= middle_x <= one.box[2] and one.box[1] <= middle_y <= one.box[3]
    return False


def _changed(processed: Processed, place: Place) -> Iterator[list[np.ndarray]]:
    """The originals in gray, or as a noise, and the same with the middle of one place changed."""
    if isinstance(place, SoundSpan):
        noise = 0.1 * np.random.default_rng(1).standard_normal(len(processed.sounds[0].samples)).astype(np.float32)
        yield [noise]
        rate = processed.sounds[0].rate
        changed = noise.copy()
        part = slice(round(place.start * rate), max(round(place.stop * rate), round(place.start * rate) + 2))
        changed[part] = changed[part][::-1]
        yield [changed]
        return
    assert isinstance(place, (ImageCell, FilmCell))
    texture = np.random.default_rng(1)
    plain = [texture.integers(96, 160, image.pixels.shape, dtype=np.uint8) for image in processed.images]
    yield plain
    left, top, right, bottom = place.box
    rows, columns = _middle(top, bottom), _middle(left, right)
    frames = (place.image,) if isinstance(place, ImageCell) else range(place.first, place.last + 1)
    changed_images = [image.copy() for image in plain]
    for frame in frames:
        changed_images[frame][rows, columns] ^= 255
    yield changed_images


def _middle(low: float, high: float) -> slice:
    center, half = (low + high) / 2, (high - low) * _MIDDLE / 2
    first = int(np.floor(center - half))
    return slice(max(0, first), max(first + 1, int(np.ceil(center + half))))


def _grid(places: tuple[Place | None, ...]) -> str:
    """What the places of one axis are, in words."""
    cells = [place for place in places if isinstance(place, (ImageCell, FilmCell))]
    spans = [place for place in places if isinstance(place, SoundSpan)]
    if spans:
        step = (spans[-1].start - spans[0].start) / max(1, len(spans) - 1)
        return f"stretches of the sound, one every {1000 * step:.4g} ms"
    if not cells:
        return ""
    rows, columns = len({place.row for place in cells}), len({place.column for place in cells})
    width, height = (float(np.median([_sides(place)[axis] for place in cells])) for axis in (0, 1))
    parts = [f"cells of {rows} × {columns}, each {height:.4g} × {width:.4g} pixels of the original"]
    images = {place.image for place in cells if isinstance(place, ImageCell)}
    tiles = {(place.image, place.tile) for place in cells if isinstance(place, ImageCell)}
    frames = {(place.first, place.last) for place in cells if isinstance(place, FilmCell)}
    if len(tiles) > max(1, len(images)):
        parts.append(f"in {len(tiles)} tiles")
    if len(images) > 1:
        parts.append(f"of {len(images)} images")
    if frames:
        parts.append(f"in {len(frames)} steps of time")
    return " ".join(parts)
