"""The places of all tokens of one forward: what a record's axes show, as far as it is verified."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.media.processing import PIXELS, SOUND, Processed
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.places.cells import Found, find_cells
from attention_analyzer.places.coordinates import Coordinates, Location, locations, measure, verified
from attention_analyzer.places.learned import learned_tokens
from attention_analyzer.places.probe import NotReachedError, Probe
from attention_analyzer.places.times import find_times
from attention_analyzer.random_state import restored_draws
from attention_analyzer.site import Site
from attention_analyzer.text.place import FilmCell, ImageCell, Learned, Place, SoundSpan
from attention_analyzer.text.tokens import Tokens

#: What was found of a model, by what it depends on; never the pixels or the samples.
_known: WeakKeyDictionary[nn.Module, dict[Hashable, Tokens | None]] = WeakKeyDictionary()
_MOST_KNOWN = 64
#: Inputs whose numbers say where the tokens of an image stand; of all others the shape is enough.
_ARRANGING = ("input_ids", "image_grid_thw", "image_sizes", "spatial_shapes", "pixel_attention_mask", "token_type_ids")


def placed(
    loaded: LoadedModel,
    records: Sequence[CapturedAttention],
    inputs: Mapping[str, Any],
    processed: Processed | None = None,
) -> list[CapturedAttention]:
    """The records of one forward with the places of their tokens.

    Args:
        inputs: of the forward.
        processed: how the inputs were made, if that is known; without it, cells are in pixels of what the model reads.
    """
    if input_name(inputs) is None or not records:
        return list(records)
    rows = len(records)
    if rows > 1:  # rows of one shape, so that what is found of one holds for all
        if any("part" in record.notes for record in records):
            return list(records)
        inputs = {
            name: value[:1] if isinstance(value, Tensor) and value.dim() and len(value) == rows else value
            for name, value in inputs.items()
        }
    find = Places(loaded, inputs, processed)
    return [find.placed(record) for record in records]


def input_name(inputs: Mapping[str, Any]) -> str | None:
    """The input that holds images or a sound."""
    return next((name for name in (*PIXELS, *SOUND) if isinstance(inputs.get(name), Tensor)), None)


@dataclass
class Places:
    """Finds what the tokens of images and sounds are.

    Args:
        inputs: of the forward.
        processed: how the inputs were made, if that is known; without it, cells have no pixels of an original.
    """

    loaded: LoadedModel
    inputs: Mapping[str, Any]
    processed: Processed | None = None
    _coordinates: Coordinates | None = field(default=None, init=False)

    def placed(self, record: CapturedAttention) -> CapturedAttention:
        """The record with the places of its tokens."""
        name = input_name(self.inputs)
        if name is None:
            return record
        entries: list[SiteRecord] = []
        shared: dict[Hashable, tuple[Tokens, Tokens]] = {}
        for number, entry in enumerate(record.entries):
            site = entry.site
            before = tuple(dict.fromkeys(each.site.module for each in record.entries[:number]))
            windows = self._folds(record, entry)
            # Layers of one stack that read equally many tokens read them in the same order, unless in windows.
            key = (site.stack, site.kind, entry.queries, entry.keys, number if windows else -1)
            if key not in shared:
                shared[key] = self._of_entry(entry, name, before)
            queries, keys = shared[key]
            entries.append(replace(entry, queries=queries, keys=keys))
        return replace(record, entries=tuple(entries))

    def _folds(self, record: CapturedAttention, entry: SiteRecord) -> bool:
        return entry.weights.visibility.segments is not None

    def _of_entry(self, entry: SiteRecord, name: str, before: tuple[str, ...]) -> tuple[Tokens, Tokens]:
        site = entry.site
        keys = self._tokens(site, entry.keys, name, before)
        if site.kind == "self" and entry.queries == entry.keys:
            return keys, keys
        queries = entry.queries if site.kind == "cross" else self._tokens(site, entry.queries, name, before)
        return queries, keys

    def _tokens(self, site: Site, tokens: Tokens, name: str, before: tuple[str, ...]) -> Tokens:
        key = self._key(site, tokens, name)
        known = _known.setdefault(self.loaded.model, {})
        if key not in known:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[key] = self._found(site, tokens, name, before)
        return known[key] or tokens

    def _key(self, site: Site, tokens: Tokens, name: str) -> Hashable:
        shapes = tuple(
            (each, value.cpu().numpy().tobytes() if each in _ARRANGING else tuple(value.shape))
            for each, value in self.inputs.items()
            if isinstance(value, Tensor)
        )
        made = self.processed
        sizes = () if made is None else tuple((image.height, image.width) for image in made.images)
        lengths = () if made is None else (made.samples, tuple(sound.rate for sound in made.sounds))
        settings = "" if made is None else (made.settings, made.is_film)
        return (site.module, site.stack, tokens, name, shapes, sizes, lengths, settings)

    def _found(self, site: Site, tokens: Tokens, name: str, before: tuple[str, ...]) -> Tokens | None:
        devices = [self.loaded.device] if self.loaded.device.type == "cuda" else []
        with self.loaded.evaluating() as model, torch.no_grad(), restored_draws(devices):
            given = self.loaded.to_device(dict(self.inputs))
            probe = Probe(model, site.module, before, given, name, len(tokens), site.kind == "cross")
            if name in SOUND:
                return self._heard(probe, tokens)
            found = find_cells(probe)
            return None if found is None else self._seen(probe, found, tokens)

    def _heard(self, probe: Probe, tokens: Tokens) -> Tokens | None:
        made = self.processed
        if made is None or not made.sounds:
            return None
        sound = made.sounds[0]

        def read(samples: np.ndarray) -> Tensor:
            value: Tensor = made.again([samples])[probe.name]
            return value

        spans = find_times(probe, read, made.samples, sound.rate)
        if spans is None:
            return None
        places = tuple(SoundSpan(0, start, stop) for start, stop in spans)
        return Tokens(tuple(f"{place.start:.2f}s" for place in places), places=places)

    def _seen(self, probe: Probe, found: Found, tokens: Tokens) -> Tokens | None:
        where = self._locations(probe.name, found)
        if where is None:
            return None
        free = tuple(cell is None for cell in found.of_token)
        learned = learned_tokens(probe, free)
        film = self.processed is not None and self.processed.is_film
        several = len({place.image for place in where if place is not None}) > 1
        tiled = any(place is not None and place.tile is not None for place in where)
        places: list[Place | None] = []
        pieces: list[str] = []
        special: list[bool] = []
        for token, cell in enumerate(found.of_token):
            place = None if cell is None else where[cell]
            if place is not None:
                pieces.append(_cell_name(place, several, tiled, film))
                special.append(False)
                if film:
                    first = place.image if place.first is None else place.first
                    places.append(FilmCell(0, first, place.image, place.row, place.column, place.box))
                else:
                    places.append(ImageCell(place.image, place.row, place.column, place.box, place.tile))
            elif token in learned:
                role, piece = learned[token]
                places.append(Learned(role))
                pieces.append(piece)
                special.append(True)
            else:
                places.append(None)
                pieces.append(tokens.pieces[token])
                special.append(tokens.is_special[token] or not tokens.ids)
        return replace(
            tokens,
            pieces=tuple(pieces),
            is_special=tuple(special),
            spans=tuple(span if place is None else None for span, place in zip(tokens.spans, places, strict=True)),
            places=tuple(places),
        )

    def _locations(self, name: str, found: Found) -> Sequence[Location | None] | None:
        cells, made = found.cells, self.processed
        if made is None or not made.images:
            if cells.flat or len({(tile, frame) for tile, frame, _, _ in cells.places}) > 1:
                return None  # which image a part of the input belongs to is not known
            size = _cell_size(cells.number)
            return [Location(0, None, row, column, _box(row, column, size)) for _, _, row, column in cells.places]

        def read(images: Sequence[np.ndarray]) -> Tensor:
            value: Tensor = made.again(images)[name]
            return value

        try:
            if self._coordinates is None:
                self._coordinates = measure(read, [(image.height, image.width) for image in made.images])
            if self._coordinates.x.shape != torch.Size(self.inputs[name].shape):
                return None
            where = locations(cells, self._coordinates)
            return where if where is not None and verified(read, cells, self._coordinates, where) else None
        except (NotReachedError, RuntimeError, ValueError):
            return None


def _cell_name(place: Location, several: bool, tiled: bool, film: bool) -> str:
    if film:
        frames = f"{place.image}" if place.first in (None, place.image) else f"{place.first}–{place.image}"
        return f"frame {frames} {place.row},{place.column}"
    parts = [f"image {place.image + 1}"] if several else []
    parts += [f"tile {place.tile + 1}"] if tiled and place.tile is not None else []
    return " ".join([*parts, f"{place.row},{place.column}"])


def _cell_size(number: Tensor) -> tuple[int, int]:
    """Rows and columns of a cell, in numbers of the processor's output."""
    first = (number == 0).reshape(-1, *number.shape[-2:]).any(0)
    return int(first.any(1).sum()), int(first.any(0).sum())


def _box(row: int, column: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = size
    return float(column * width), float(row * height), float((column + 1) * width), float((row + 1) * height)
