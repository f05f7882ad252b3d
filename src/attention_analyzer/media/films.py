"""Films from files, arrays and lists of images: frames as images, evenly chosen, as many as the model reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attention_analyzer.errors import InputError, MissingDependencyError
from attention_analyzer.media.images import MOST_PIXELS, Image, animation, read_image

#: Frames that are looked at to choose from.
MOST_FRAMES = 100_000


def read_film(source: Any, count: int | None = None) -> tuple[Image, ...]:
    """Frames of a film, from its first to its last, as upright RGB images of one size.

    Animated GIF, WebP and PNG files are read by Pillow, all other files by PyAV.

    Args:
        source: a path, an array ``[frame, row, column, 3]`` (or with the channels before the rows), or a list of
            images.
        count: how many frames are taken, evenly from the first to the last; all of them by default.

    Raises:
        InputError: this is no film, it is broken, too large, or has fewer frames than are needed.
        MissingDependencyError: the file needs PyAV, or Pillow, which is not installed.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise InputError(f"There is no film file {path}.")
        frames = _of_file(path, count)
    elif isinstance(source, (list, tuple)):
        numbers = _chosen(len(source), count, "The film")
        frames = [read_image(source[number]) for number in numbers]
        frames = _named(frames, numbers, "")
    elif hasattr(source, "__array__"):
        array = np.asarray(source)
        if array.ndim != 4:
            raise InputError(
                f"A film is an array [frame, row, column, 3], but one of the shape {array.shape} was given."
            )
        numbers = _chosen(len(array), count, "The film")
        frames = _named([read_image(array[number]) for number in numbers], numbers, "")
    else:
        raise InputError(f"A film is a path, an array or a list of images, but {type(source).__name__} was given.")
    sizes = {(frame.height, frame.width) for frame in frames}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} × {height}" for height, width in sorted(sizes)[:3])
        raise InputError(f"The film's frames differ in size ({shown}); bring them to one size.")
    if len(frames) * frames[0].height * frames[0].width > MOST_PIXELS:
        raise InputError(
            f"The film's {len(frames)} frames have more than {MOST_PIXELS:,} pixels; scale them down first."
        )
    return tuple(frames)


def _chosen(total: int, count: int | None, name: str) -> list[int]:
    """Numbers of the frames that are taken: evenly, the first and the last among them."""
    if total == 0:
        raise InputError(f"{name} has no frames.")
    if total > MOST_FRAMES:
        raise InputError(f"{name} has {total:,} frames, more than {MOST_FRAMES:,}; cut it first.")
    if count is None:
        return list(range(total))
    if total < count:
        raise InputError(f"{name} has {total} frames, but the model reads {count}; give at least as many.")
    return [int(number) for number in np.linspace(0, total - 1, count).round()]


def _named(frames: Sequence[Image], numbers: Sequence[int], name: str) -> list[Image]:
    return [
        replace(frame, name=f"{name}, frame {number}".lstrip(", "))
        for frame, number in zip(frames, numbers, strict=True)
    ]


def _of_file(path: Path, count: int | None) -> list[Image]:
    if path.suffix.lower() in (".gif", ".webp", ".png", ".apng"):
        with animation(path) as (total, frame_at):
            numbers = _chosen(total, count, path.name)
            return _named([frame_at(number) for number in numbers], numbers, path.name)
    total = sum(1 for _ in _decoded(path, pixels=False))
    numbers = _chosen(total, count, path.name)
    wanted = set(numbers)
    frames = [Image(pixels) for number, pixels in enumerate(_decoded(path)) if number in wanted]
    return _named(frames, numbers, path.name)


def _decoded(path: Path, *, pixels: bool = True) -> Iterator[np.ndarray]:
    """The frames of a file, one after the other; empty arrays where only their number is asked for."""
    try:
        import av  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingDependencyError("av", "video", f"Reading {path.name}") from None
    try:
        with av.open(str(path)) as opened:
            if not opened.streams.video:
                raise InputError(f"{path.name} has no film in it.")
            for frame in opened.decode(video=0):
                if frame.width * frame.height > MOST_PIXELS:
                    raise InputError(
                        f"{path.name} has frames of more than {MOST_PIXELS:,} pixels; scale it down first."
                    )
                yield frame.to_ndarray(format="rgb24") if pixels else np.empty(0)
    except (av.FFmpegError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path.name} is no film that can be read: {reason}.") from None
