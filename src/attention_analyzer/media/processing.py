"""Images and sounds through a model's processor: the inputs of its forward, and the same for others of their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from attention_analyzer.errors import InputError, MissingDependencyError, ModelError, TooLongError
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound

#: What a processor calls the pixels, and the sound.
PIXELS = ("pixel_values", "pixel_values_videos", "flattened_patches", "image_patches")
SOUND = ("input_features", "input_values", "audio_values")


@dataclass(frozen=True)
class Processed:
    """What a processor made of images or sounds, and a text.

    Attributes:
        inputs: of the model's forward.
        images, sounds: as the processor got them; of a film its frames.
        again: the processor on other images (uint8 ``[row, column, 3]``) or sounds (samples) of the same sizes.
        settings: what its output's geometry depends on, besides the sizes.
        is_film: whether the images are the frames of a film.
        samples: of a sound that fills the processor's output; more than the sound has where that is padded.
    """

    inputs: dict[str, Any]
    images: tuple[Image, ...]
    sounds: tuple[Sound, ...]
    again: Callable[[Sequence[np.ndarray]], dict[str, Any]]
    settings: str
    samples: int = 0
    is_film: bool = False

    @property
    def name(self) -> str | None:
        """The input that holds the images or the sound."""
        return next((name for name in (*PIXELS, *SOUND) if isinstance(self.inputs.get(name), Tensor)), None)


def process_images(
    processor: Any, images: Sequence[Image], text: Any = None, *, messages: Any = None, beside_text: bool = True
) -> Processed:
    """Run a processor on images and, if it reads texts, a text.

    Args:
        processor: a processor, or an image processor alone.
        text: what goes with the images; a mark for each image is put before it, unless the text has them.
        messages: instead of a text, a chat whose images have been read, with ``{"type": "image"}`` for each.
        beside_text: whether the model reads a text beside the images.

    Raises:
        InputError: the processor cannot use them.
        ModelError: it processes no images.
    """
    reads_text = beside_text and getattr(processor, "tokenizer", None) is not None
    if not reads_text and not _reads_images(processor):
        raise ModelError(f"{type(processor).__name__} processes no images.")
    if (text is not None or messages is not None) and not reads_text:
        raise InputError(f"{type(processor).__name__} reads images alone; leave the text away.")
    written = _written(processor, text, messages, len(images)) if reads_text else None

    def again(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        given = [_as_pillow(array) for array in arrays]
        if written is None:
            reader = getattr(processor, "image_processor", processor)
            return dict(reader(images=given, return_tensors="pt"))
        extra = {} if messages is None else {"add_special_tokens": False}
        return dict(processor(text=[written], images=given, return_tensors="pt", **extra))

    inputs = _called(processor, lambda: again([image.pixels for image in images]))
    return Processed(inputs, tuple(images), (), again, _settings(processor, written))


def process_film(processor: Any, frames: Sequence[Image], text: Any = None, *, beside_text: bool = True) -> Processed:
    """Run a processor on the frames of one film and, if it reads texts, a text.

    Raises:
        InputError: the processor cannot use them.
        ModelError: it processes no films.
    """
    reads_text = beside_text and getattr(processor, "tokenizer", None) is not None
    reader = processor if reads_text else getattr(processor, "video_processor", None) or processor
    reader = getattr(reader, "image_processor", reader) if not reads_text else reader
    if not callable(reader):
        raise ModelError(f"{type(processor).__name__} processes no films.")
    if text is not None and not reads_text:
        raise InputError(f"{type(processor).__name__} reads a film alone; leave the text away.")
    written = _written(processor, text, None, 1, mark="video") if reads_text else None

    def again(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        if written is not None:
            return dict(reader(text=[written], videos=[list(arrays)], return_tensors="pt"))
        return dict(reader([_as_pillow(array) for array in arrays], return_tensors="pt"))

    inputs = _called(processor, lambda: again([frame.pixels for frame in frames]))
    return Processed(inputs, tuple(frames), (), again, _settings(processor, written), is_film=True)


def process_sound(processor: Any, sound: Sound, *, truncate: bool = False) -> Processed:
    """Run a processor on a sound, which is brought to the processor's rate first.

    Raises:
        InputError: the processor cannot use it.
        TooLongError: the sound is longer than the processor takes, and is not to be truncated.
        ModelError: it processes no sound.
    """
    reader = getattr(processor, "feature_extractor", processor)
    rate = getattr(reader, "sampling_rate", None)
    if not isinstance(rate, int):
        raise ModelError(f"{type(processor).__name__} processes no sound.")
    heard = sound.resampled(rate)
    limit = getattr(reader, "n_samples", None)
    if isinstance(limit, int) and len(heard.samples) > limit and not truncate:
        raise TooLongError(
            f"The sound lasts {heard.seconds:.1f} seconds, but the model reads {limit / rate:g}; cut it, or pass "
            "truncate=True to keep its beginning."
        )
    if isinstance(limit, int):
        heard = Sound(heard.samples[:limit], rate, heard.name)

    def again(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        return dict(reader(arrays[0], sampling_rate=rate, return_tensors="pt"))

    inputs = _called(processor, lambda: again([heard.samples]))
    filled = limit if isinstance(limit, int) else len(heard.samples)
    return Processed(inputs, (), (heard,), again, _settings(reader, None), filled)


def _written(processor: Any, text: Any, messages: Any, count: int, mark: str = "image") -> str:
    """The text with a mark for each image or film, as the processor's template or its token for them has it."""
    if messages is not None:
        if getattr(processor, "chat_template", None) is None:
            raise InputError(f"{type(processor).__name__} has no chat template; give a text beside the image instead.")
        return str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    text = "" if text is None else text
    if not isinstance(text, str):
        raise InputError(f"The text beside an image is a str, not {type(text).__name__}.")
    token = getattr(processor, f"{mark}_token", None)
    if not isinstance(token, str) or token in text:
        return text
    if getattr(processor, "chat_template", None) is not None:
        content = [{"type": mark}] * count + [{"type": "text", "text": text}]
        chat = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    return token * count + text


def _called(processor: Any, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except ImportError as error:
        raise MissingDependencyError(str(error.name or "pillow"), "vision", type(processor).__name__) from error
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(f"{type(processor).__name__} cannot use these inputs: {reason}.") from error


def _reads_images(processor: Any) -> bool:
    return any(hasattr(processor, name) for name in ("image_processor", "image_mean", "do_resize", "do_normalize"))


def _as_pillow(array: np.ndarray) -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise MissingDependencyError("pillow", "vision", "Reading images") from None
    return PIL.Image.fromarray(array)


def _settings(processor: Any, text: str | None) -> str:
    describe = getattr(processor, "to_json_string", None)
    try:
        described = describe() if callable(describe) else type(processor).__name__
    except (TypeError, ValueError):
        described = f"{type(processor).__name__} {id(processor)}"
    return f"{described}\n{text}"
