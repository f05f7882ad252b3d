"""Images and sounds as the page shows them, and where the tokens lie in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound
from attention_analyzer.text.place import FilmCell, ImageCell, Learned, Place, SoundSpan
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view.payload import PayloadWriter

#: Longest side of an image in a page, in pixels; places stay in pixels of the original.
LONGEST_SIDE = 640
#: Bands and most columns of a spectrogram.
BANDS, MOST_COLUMNS = 64, 1000


def media_content(record: CapturedAttention, writer: PayloadWriter) -> list[dict[str, Any]]:
    """The images and sounds of a record, as blocks and their sizes."""
    return [_image(medium, writer) if isinstance(medium, Image) else _sound(medium, writer) for medium in record.media]


def places_content(tokens: Tokens) -> dict[str, Any] | None:
    """Per token a box ``[image, left, top, right, bottom]``, of a film ``[first frame, …, last frame]``, or a span
    ``[sound, start, stop]``; None without any.
    """
    places = tokens.places
    if any(isinstance(place, ImageCell | FilmCell) for place in places):
        return {"kind": "image", "boxes": [_box(place) for place in places]}
    if any(isinstance(place, SoundSpan) for place in places):
        spans = [[place.sound, place.start, place.stop] if isinstance(place, SoundSpan) else None for place in places]
        return {"kind": "sound", "spans": spans}
    return None


def _box(place: Place | None) -> list[float] | None:
    if isinstance(place, ImageCell):
        return [place.image, *place.box]
    return [place.first, *place.box, place.last] if isinstance(place, FilmCell) else None


def roles_content(tokens: Tokens) -> dict[str, str]:
    """What learned tokens are, by their position."""
    return {str(number): place.role for number, place in enumerate(tokens.places) if isinstance(place, Learned)}


def opening_state(record: CapturedAttention) -> dict[str, Any]:
    """What a page of an image or a sound shows first: the last layer that looks at it."""
    if not record.media:
        return {}
    kind = "image" if isinstance(record.media[0], Image) else "sound"
    fitting = [
        entry for entry in record.entries if (found := places_content(entry.keys)) is not None and found["kind"] == kind
    ]
    if not fitting:
        return {}
    view = "picture" if kind == "image" else "sound"
    return {"view": view, "site": fitting[-1].site.name, "query": 0}


def small_pixels(image: Image) -> np.ndarray:
    """uint8 ``[row, column, 3]`` with at most :data:`LONGEST_SIDE` pixels a side: means over blocks of pixels."""
    step = -(-max(image.height, image.width) // LONGEST_SIDE)
    if step == 1:
        return image.pixels
    rows, columns = image.height // step, image.width // step
    cut = image.pixels[: rows * step, : columns * step].astype(np.float32)
    return cut.reshape(rows, step, columns, step, 3).mean((1, 3)).round().astype(np.uint8)


def spectrogram(sound: Sound) -> np.ndarray:
    """Loudness as float32 ``[band, column]``, low bands first: from 0 (70 dB below the loudest) to 1."""
    from scipy.signal import stft

    width = int(0.025 * sound.rate)
    hop = max(int(0.010 * sound.rate), -(-len(sound.samples) // MOST_COLUMNS))
    hertz, _, values = stft(sound.samples, sound.rate, nperseg=width, noverlap=max(0, width - hop), nfft=1024)
    edges = np.geomspace(80, sound.rate / 2, BANDS + 1)
    band = np.clip(np.searchsorted(edges, hertz, "right") - 1, 0, BANDS - 1)
    power = np.zeros((BANDS, values.shape[1]))
    for number in range(BANDS):
        nearest = np.abs(hertz - np.sqrt(edges[number] * edges[number + 1])).argmin()
        members = np.flatnonzero(band == number) if np.any(band == number) else np.array([nearest])
        power[number] = (np.abs(values[members]) ** 2).max(0)
    loudness = 10 * np.log10(power / max(power.max(), 1e-20) + 1e-12)
    return np.clip(1 + loudness / 70, 0, 1).astype(np.float32)


def _image(image: Image, writer: PayloadWriter) -> dict[str, Any]:
    pixels = small_pixels(image)
    return {
        "kind": "image",
        "name": image.name,
        "width": image.width,
        "height": image.height,
        "block": writer.add(pixels),
    }


def _sound(sound: Sound, writer: PayloadWriter) -> dict[str, Any]:
    shown = np.round(255 * spectrogram(sound)).astype(np.uint8)
    return {"kind": "sound", "name": sound.name, "seconds": sound.seconds, "block": writer.add(shown)}
