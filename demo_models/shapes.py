"""The captioner's task: an image of colored shapes becomes a caption, and each word has a known region.

    "a red circle, a blue square and a green star"

The shapes stand in the caption from left to right, so *blue* and *square* can only come from the pixels of the second
shape. Where the model looks while it writes a word can be scored against those pixels.

Images are split by the caption itself: a held-out combination of shapes is never seen in any arrangement.
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

#: RGB of each color that a caption names.
COLORS = {
    "red": (214, 39, 40),
    "orange": (255, 136, 14),
    "yellow": (240, 214, 30),
    "green": (44, 150, 44),
    "blue": (40, 90, 200),
    "purple": (130, 60, 170),
}
SHAPES = ("circle", "square", "triangle", "star")
#: Side of an image in pixels, and the range of a shape's radius.
SIDE = 160
RADIUS = (22, 32)
HELD_OUT_EVERY = 10
MOST_SHAPES = 3
#: Pixels that separate the centers of two shapes from left to right, at least.
_APART = 16


@dataclass(frozen=True)
class Example:
    """One image and its caption.

    Attributes:
        image: RGB, ``SIDE`` × ``SIDE`` pixels.
        caption: words and marks, separated by spaces.
        regions: bool ``[shape, row, column]``: the pixels of each shape, from left to right.
        shape_of: for each word of the caption the number of its shape, or None for "and" and commas.
    """

    image: Image.Image
    caption: str
    regions: np.ndarray
    shape_of: tuple[int | None, ...]


def example(generator: random.Random, *, held_out: bool) -> Example:
    """A random image with one to three shapes."""
    while True:
        count = generator.choice((1, 2, 2, 3, 3, 3))
        things = [(generator.choice(list(COLORS)), generator.choice(SHAPES)) for _ in range(count)]
        caption, shape_of = _caption(things)
        # Single shapes are too few to hold any out.
        out = count > 1 and zlib.crc32(caption.encode()) % HELD_OUT_EVERY == 0
        if out == held_out:
            break
    image, regions = _drawn(things, _circles(generator, count), generator)
    return Example(image, caption, regions, shape_of)


def vocabulary() -> list[str]:
    """Every word and mark that a caption can contain."""
    return ["a", "an", "and", ",", *COLORS, *SHAPES]


def _caption(things: list[tuple[str, str]]) -> tuple[str, tuple[int | None, ...]]:
    words: list[str] = []
    shape_of: list[int | None] = []
    for number, (color, shape) in enumerate(things):
        if number:
            words.append("and" if number == len(things) - 1 else ",")
            shape_of.append(None)
        words += ["an" if color[0] in "aeiou" else "a", color, shape]
        shape_of += [number] * 3
    return " ".join(words), tuple(shape_of)


def _circles(generator: random.Random, count: int) -> list[tuple[float, float, float]]:
    """Centers and radii of circles that do not touch, from left to right."""
    while True:
        circles: list[tuple[float, float, float]] = []
        for _ in range(count):
            radius = generator.uniform(*RADIUS)
            x, y = (generator.uniform(radius + 2, SIDE - radius - 2) for _ in range(2))
            circles.append((x, y, radius))
        circles.sort()
        pairs = [(one, two) for i, one in enumerate(circles) for two in circles[i + 1 :]]
        if all(two[0] - one[0] >= _APART and math.dist(one[:2], two[:2]) > one[2] + two[2] + 2 for one, two in pairs):
            return circles


def _drawn(
    things: list[tuple[str, str]], circles: list[tuple[float, float, float]], generator: random.Random
) -> tuple[Image.Image, np.ndarray]:
    noise = np.random.default_rng(generator.randrange(2**32))
    ground = np.array([generator.randint(205, 250) for _ in range(3)])
    pixels = np.broadcast_to(ground, (SIDE, SIDE, 3)).astype(np.float32)
    regions = []
    for (color, shape), circle in zip(things, circles, strict=True):
        mask = _mask(shape, circle, generator.uniform(-0.3, 0.3))
        shade = np.array([channel + generator.randint(-12, 12) for channel in COLORS[color]])
        pixels = np.where(mask[..., None], shade, pixels)
        regions.append(mask)
    pixels = pixels + noise.normal(0, 5, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), np.stack(regions)


def _mask(shape: str, circle: tuple[float, float, float], turn: float) -> np.ndarray:
    """bool ``[row, column]``: the pixels of one shape."""
    x, y, radius = circle
    canvas = Image.new("1", (SIDE, SIDE))
    draw = ImageDraw.Draw(canvas)
    if shape == "circle":
        radius *= 0.9
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[shape]
        first = turn - math.pi / 2 + (math.pi / 4 if shape == "square" else 0)
        points = []
        for number in range(corners):
            reach = radius * (0.45 if shape == "star" and number % 2 else 1)
            angle = first + 2 * math.pi * number / corners
            points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        draw.polygon(points, fill=1)
    return np.asarray(canvas, dtype=bool)
