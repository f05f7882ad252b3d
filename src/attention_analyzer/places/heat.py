"""Weights of a token over the pixels of an image, or over the seconds of a sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.media.images import Image
from attention_analyzer.site import Kind
from attention_analyzer.text.place import FilmCell, ImageCell, Place, SoundSpan
from attention_analyzer.text.tokens import Tokens


def heat(
    record: CapturedAttention,
    token: int | str | None = None,
    layer: int | None = None,
    head: int | None = None,
    *,
    stack: str | None = None,
    kind: Kind | None = None,
    image: int = 0,
    smooth: int = 1,
) -> np.ndarray:
    """The weight that a token puts on each pixel's cell: float32 ``[row, column]`` of the original image.

    Pixels that no token shows (cropped away) are NaN; where tiles overlap, their weights are added.

    Args:
        token: of the queries: its position, or what it shows; by default the class token, else the mean over all.
            A token that the model generates or predicts is looked up where it is predicted: one query earlier.
        layer, head: of which layer and head; means over all of them by default.
        stack, kind: by default where a text looks at the image, else the image's own attention.
        image: which image; of a film which of its frames.
        smooth: each cell gets the mean over a window of ``smooth`` × ``smooth`` cells around it. Models often read a
            thing from cells beside it, since each cell knows of its neighbors after a layer; a window of 3 finds the
            thing. 1 leaves the weights as they are.

    Raises:
        InputError: the record has no image whose cells are known, or ``smooth`` is no odd number of at least 1.
        SelectionError: there is no such token, layer or head.
    """
    entries = _entries(record, (ImageCell, FilmCell), layer, stack, kind)
    row = np.mean([_row(entry, token, head) for entry in entries], axis=0)
    places = entries[0].keys.places
    return spread(record.media, places, smoothed(places, row, smooth), image)


def timeline(
    record: CapturedAttention,
    token: int | str | None = None,
    layer: int | None = None,
    head: int | None = None,
    *,
    stack: str | None = None,
    kind: Kind | None = None,
) -> pd.DataFrame:
    """The weight that a token puts on each stretch of a sound: ``start`` and ``stop`` in seconds, and ``weight``.

    Arguments and errors are those of :func:`heat`.
    """
    entries = _entries(record, (SoundSpan,), layer, stack, kind)
    row = np.mean([_row(entry, token, head) for entry in entries], axis=0)
    spans = [(number, place) for number, place in enumerate(entries[0].keys.places) if isinstance(place, SoundSpan)]
    return pd.DataFrame(
        {
            "start": [place.start for _, place in spans],
            "stop": [place.stop for _, place in spans],
            "weight": row[[number for number, _ in spans]],
        }
    )


def on_pixels(
    record: CapturedAttention, tokens: Tokens, values: Sequence[float] | np.ndarray, image: int = 0
) -> np.ndarray:
    """One value per token as an image of the original's size: NaN where no token lies."""
    return spread(record.media, tokens.places, values, image)


def smoothed(places: Sequence[Place | None], values: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """Values of cells, each the mean over a window of ``size`` × ``size`` cells around it.

    Beyond the border of an image or a tile values count as zero.

    Raises:
        InputError: the size is no odd number of at least 1.
    """
    if type(size) is not int or size < 1 or size % 2 == 0:
        raise InputError(f"smooth is an odd number of cells of at least 1, such as 3, not {size!r}.")
    found = np.array(values, dtype=np.float64)
    if size == 1:
        return found
    at = {_cell(place): number for number, place in enumerate(places) if isinstance(place, (ImageCell, FilmCell))}
    steps = range(-(size // 2), size // 2 + 1)
    for (image, tile, row, column), number in at.items():
        near = ((image, tile, row + down, column + right) for down in steps for right in steps)
        found[number] = sum(float(values[at[cell]]) for cell in near if cell in at) / size**2
    return found


def _cell(place: ImageCell | FilmCell) -> tuple[int, int | None, int, int]:
    number, tile = (place.image, place.tile) if isinstance(place, ImageCell) else (place.first, None)
    return number, tile, place.row, place.column


def lies_in(place: Place | None, image: int) -> bool:
    """Whether a cell lies in an image, or in that frame of a film."""
    if isinstance(place, ImageCell):
        return place.image == image
    return isinstance(place, FilmCell) and place.first <= image <= place.last


def spread(
    media: Sequence[object], places: Sequence[Place | None], values: Sequence[float] | np.ndarray, image: int = 0
) -> np.ndarray:
    """One value per token as an image of the original's size: NaN where no token lies.

    Raises:
        InputError: no token lies in an image.
        SelectionError: there is no such image.
    """
    images = [medium for medium in media if isinstance(medium, Image)]
    if images and not 0 <= image < len(images):
        raise SelectionError(f"The record has {len(images)} images, counted from 0, and no image {image}.")
    mine = [
        (place, value)
        for place, value in zip(places, values, strict=True)
        if isinstance(place, (ImageCell, FilmCell)) and lies_in(place, image)
    ]
    if not mine:
        raise InputError("No token lies in this image, so there is no heat to show.")
    if images:
        size = (images[image].height, images[image].width)
    else:  # pixels of what the model read
        size = (round(max(place.box[3] for place, _ in mine)), round(max(place.box[2] for place, _ in mine)))
    result = np.full(size, np.nan, dtype=np.float32)
    for place, value in mine:
        left, top, right, bottom = (round(side) for side in place.box)
        part = result[top : max(bottom, top + 1), left : max(right, left + 1)]
        part[...] = np.where(np.isnan(part), value, part + value)
    return result


def _entries(
    record: CapturedAttention, wanted: tuple[type, ...], layer: int | None, stack: str | None, kind: Kind | None
) -> list[SiteRecord]:
    """The layers whose keys have places of a kind: of one text's look at it if there is any, else of its own stack."""
    fitting = [
        entry
        for entry in record.entries
        if any(isinstance(each, wanted) for each in entry.keys.places)
        and (stack is None or entry.site.stack == stack)
        and (kind is None or entry.site.kind == kind)
    ]
    if not fitting:
        what, keyword = ("an image", "image") if ImageCell in wanted else ("a sound", "audio")
        raise InputError(
            f"The keys of these layers have no verified place in {what}; make the record with {keyword}=…, or choose "
            "another stack or kind."
        )
    chosen = fitting[-1].site  # texts look at images and sounds in the last stack
    same = [entry for entry in fitting if (entry.site.stack, entry.site.kind) == (chosen.stack, chosen.kind)]
    if layer is None:
        return [entry for entry in same if len(entry.keys) == len(same[-1].keys)]
    depth = 1 + max(entry.site.layer for entry in same)
    found = [entry for entry in same if entry.site.layer == layer % depth and -depth <= layer < depth]
    if not found:
        raise SelectionError(f"There is no layer {layer} of {chosen.stack} {chosen.kind}-attention with places.")
    return found


def _row(entry: SiteRecord, token: int | str | None, head: int | None) -> np.ndarray:
    heads = entry.site.heads
    if head is not None and not -heads <= head < heads:
        raise SelectionError(f"{entry.site.name} has {heads} heads, and no head {head}.")
    query = query_of(entry, token)
    rows = slice(None) if query is None else query
    lazy = entry.weights[slice(None) if head is None else head % heads, rows, :].float().cpu().numpy()
    return np.asarray(lazy.reshape(-1, lazy.shape[-1]).mean(0))


def query_of(entry: SiteRecord, token: int | str | None) -> int | None:
    """The query that a token is looked up at; None for all of them.

    Raises:
        SelectionError: no query, or more than one, shows this.
    """
    tokens = entry.queries
    if token is None:
        return tokens.pieces.index("[CLS]") if tokens.pieces[:1] == ("[CLS]",) else None
    if isinstance(token, str):
        wanted = token.strip()
        found = [number for number, piece in enumerate(tokens.pieces) if piece.strip() == wanted]
        if len(found) != 1:
            many = f"at {', '.join(map(str, found))}; give its position" if found else "nowhere among the queries"
            raise SelectionError(f"{token!r} is {many}.")
        token = found[0]
    if not -len(tokens) <= token < len(tokens):
        raise SelectionError(f"There are {len(tokens)} queries, and no query {token}.")
    number = token % len(tokens)
    predicted = entry.site.tower == "decoder" and number > 0 and tokens.places[number] is None
    return number - 1 if predicted else number
