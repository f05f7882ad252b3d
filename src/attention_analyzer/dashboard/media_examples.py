"""Images and a sound that the bundled models read, drawn when they are asked for."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable

import numpy as np

#: Pixels of a side, and samples per second.
_SIDE, _RATE = 320, 16_000
#: Frequencies in hertz of the two tones of some keys of a telephone.
_TONES = {"1": (697, 1209), "4": (770, 1209), "7": (852, 1209), "9": (852, 1477)}


def two_shapes() -> bytes:
    """A red circle and a blue square."""
    return _drawn("#eef2e6", ("#d62728", "circle", (30, 40, 140, 150)), ("#285ac8", "square", (195, 175, 285, 265)))


def three_shapes() -> bytes:
    """A green triangle, a yellow circle and a purple square."""
    return _drawn(
        "#f2ece6",
        ("#2c962c", "triangle", (20, 190, 125, 290)),
        ("#f0d61e", "circle", (110, 30, 215, 135)),
        ("#823caa", "square", (215, 170, 300, 255)),
    )


def digits() -> bytes:
    """1, 4, 7 and 9 dialed on a telephone, as WAV."""
    time = np.arange(int(0.22 * _RATE)) / _RATE
    pause = np.zeros(int(0.15 * _RATE))
    parts = [pause]
    for low, high in _TONES.values():
        parts += [0.1 * (np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)), pause]
    sound = np.concatenate(parts)
    sound = sound + np.random.default_rng(0).normal(0, 0.003, len(sound))
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((sound * 32_767).astype("<i2").tobytes())
    return content.getvalue()


#: By the name of the file that each is shown as.
EXAMPLES: dict[str, Callable[[], bytes]] = {
    "two-shapes.png": two_shapes,
    "three-shapes.png": three_shapes,
    "digits.wav": digits,
}


def _drawn(ground: str, *things: tuple[str, str, tuple[int, int, int, int]]) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_SIDE, _SIDE), ground)
    pen = ImageDraw.Draw(image)
    for color, shape, box in things:
        left, top, right, bottom = box
        if shape == "circle":
            pen.ellipse(box, fill=color)
        elif shape == "square":
            pen.rectangle(box, fill=color)
        else:
            pen.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=color)
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
