"""Images from files, bytes, arrays and Pillow: upright RGB, eight bits a channel, as processors take them."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_analyzer.errors import InputError, MissingDependencyError

#: Pixels that an image may have. A larger one is refused by the size in its header, before it is decoded.
MOST_PIXELS = 64_000_000
_CHANNELS = (3, 4)


@dataclass(frozen=True, eq=False)
class Image:
    """An image as the processor gets it.

    Attributes:
        pixels: uint8 ``[row, column, 3]``, upright RGB.
        name: of the file, or "".
    """

    pixels: np.ndarray
    name: str = ""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


def read_image(source: Any) -> Image:
    """The image in a file, in bytes, in an open file, in an array or in a Pillow image.

    It is turned as its EXIF entry says. Transparency is dropped and palettes, CMYK and gray become RGB, as processors
    do it; 16 bits per channel are scaled to 8.

    Args:
        source: a path, bytes, a file opened in binary mode, a ``PIL.Image``, or an array ``[row, column]``,
            ``[row, column, channel]`` or ``[channel, row, column]``: uint8, uint16, or floating from 0 to 1.

    Raises:
        InputError: this is no image, it is broken, animated, or has more than :data:`MOST_PIXELS` pixels.
        MissingDependencyError: Pillow is not installed.
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name = path.name
        if not path.is_file():
            raise InputError(f"There is no image file {path}.")
        with _opened(path, name) as opened:
            return _from_pillow(opened, name)
    if isinstance(source, (bytes, bytearray)):
        source = io.BytesIO(source)
    if hasattr(source, "read"):
        name = Path(str(getattr(source, "name", ""))).name
        with _opened(source, name or "The file") as opened:
            return _from_pillow(opened, name)
    if type(source).__module__.partition(".")[0] == "PIL":
        name = Path(str(getattr(source, "filename", "") or "")).name
        with _decoding(name or "The image"):
            return _from_pillow(source, name)
    if hasattr(source, "__array__"):
        return Image(_from_array(np.asarray(source)))
    raise InputError(
        f"An image is a path, bytes, an open file, a PIL image or an array, but {type(source).__name__} was given."
    )


@contextmanager
def animation(path: Path) -> Iterator[tuple[int, Callable[[int], Image]]]:
    """How many frames an image file has, and a function that reads one of them.

    Raises:
        InputError: this is no image, or a frame is broken or has more than :data:`MOST_PIXELS` pixels.
        MissingDependencyError: Pillow is not installed.
    """
    with _opened(path, path.name) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise InputError(f"{path.name} has frames of more than {MOST_PIXELS:,} pixels; scale it down first.")

        def frame_at(number: int) -> Image:
            opened.seek(number)
            return Image(np.asarray(opened.convert("RGB")), path.name)

        yield getattr(opened, "n_frames", 1), frame_at


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise MissingDependencyError("pillow", "vision", "Reading images") from None
    return PIL


@contextmanager
def _opened(source: Any, name: str) -> Iterator[Any]:
    pillow = _pillow()
    with _decoding(name), pillow.Image.open(source) as opened:
        yield opened


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Pillow's errors as one sentence. Its own warning of large images is ours, too, and comes as an error."""
    pillow = _pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pillow.Image.DecompressionBombWarning)
        try:
            yield
        except pillow.UnidentifiedImageError:
            raise InputError(f"{name} is no image that can be read; give a PNG, JPEG, WebP or TIFF file.") from None
        except pillow.Image.DecompressionBombError:
            raise InputError(f"{name} has more than {MOST_PIXELS:,} pixels; scale it down first.") from None
        except InputError:
            raise
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{name} is broken: {reason or type(error).__name__}.") from None


def _from_pillow(opened: Any, name: str) -> Image:
    pillow = _pillow()
    label = name or "The image"
    width, height = opened.size
    if not width or not height:
        raise InputError(f"{label} has no pixels.")
    if width * height > MOST_PIXELS:
        raise InputError(f"{label} has {width:,} × {height:,} pixels, more than {MOST_PIXELS:,}; scale it down first.")
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":  # an MPO is a photograph with a preview
        raise InputError(f"{label} is animated ({frames} frames); give one frame of it, or video=… for a film.")
    if opened.mode.startswith(("I", "F")):
        return Image(_from_array(np.asarray(pillow.ImageOps.exif_transpose(opened))), name)
    upright = pillow.ImageOps.exif_transpose(opened).convert("RGB")
    return Image(np.asarray(upright), name)


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[-1] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim != 3 or array.shape[-1] not in _CHANNELS or not array.size:
        raise InputError(
            f"An image is an array [row, column] or [row, column, 3], but one of the shape {array.shape} was given."
        )
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise InputError(f"The image has more than {MOST_PIXELS:,} pixels; scale it down first.")
    array = array[..., :3]
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise InputError("The image holds NaN or infinite numbers.")
    if np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
        return np.round(array * 255).astype(np.uint8)
    if low >= 0 and high <= 255:
        return array.astype(np.uint8)
    if low >= 0 and high <= 65_535:
        return np.round(array / 257).astype(np.uint8)
    raise InputError(
        f"The image's numbers go from {low:g} to {high:g}; give uint8, uint16, or floating ones from 0 to 1."
    )
