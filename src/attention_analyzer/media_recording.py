"""Records of images and sounds: read, processed, run, and with the place of every token."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError, ModelError
from attention_analyzer.inputs import (
    LONGEST_TARGET,
    Prepared,
    accepted,
    generated_ids,
    shifted_target,
    start_id,
    written_targets,
)
from attention_analyzer.media.films import read_film
from attention_analyzer.media.images import Image, read_image
from attention_analyzer.media.processing import Processed, process_film, process_images, process_sound
from attention_analyzer.media.sounds import Sound, read_sound
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.signatures import forward_parameters
from attention_analyzer.places.check import TRIED, PlaceCheck, check_places
from attention_analyzer.places.find import placed
from attention_analyzer.recording import record_inputs
from attention_analyzer.text.chat import Messages

#: What an image in a message may be called beside its type, as templates of the hub have it.
_IMAGE_KEYS = ("image", "path", "url", "data")


@dataclass(frozen=True)
class Media:
    """What a record is asked of: images, a film or a sound, and the text or chat that goes with them.

    Attributes:
        film: not read yet, since the model says how many of its frames it reads.
    """

    images: tuple[Image, ...] = ()
    film: Any = None
    sound: Sound | None = None
    text: str | None = None
    messages: Messages | None = None


def read_media(
    *,
    images: Sequence[Any] = (),
    audio: Any = None,
    video: Any = None,
    sampling_rate: int | None = None,
    text: str | None = None,
    messages: Messages | None = None,
) -> Media:
    """Read what was given.

    Raises:
        InputError: an image or sound cannot be used, or two of images, a film and a sound were given together.
    """
    if video is not None and (images or messages is not None or audio is not None):
        raise InputError("A film and images, a sound or a chat were given together; give one of them.")
    if audio is not None and (images or messages is not None):
        raise InputError("Images and a sound were given together; give one of them.")
    if text is not None and not isinstance(text, str):
        raise InputError(f"The text beside an image or a sound is a str, not {type(text).__name__}.")
    if video is not None:
        return Media(film=video, text=text)
    if audio is not None:
        return Media(sound=read_sound(audio, sampling_rate), text=text)
    if messages is not None:
        found, marked = _of_messages(messages)
        return Media(images=(*found, *map(read_image, images)), messages=marked)
    return Media(images=tuple(map(read_image, images)), text=text)


def has_images(messages: Any) -> bool:
    """Whether a chat holds images."""
    contents = (each.get("content") for each in messages if isinstance(each, Mapping))
    return any(
        isinstance(part, Mapping) and part.get("type") in ("image", "image_url")
        for content in contents
        if isinstance(content, (list, tuple))
        for part in content
    )


def record_media(
    loaded: LoadedModel, media: Media, *, truncate: bool = False, check: bool = True
) -> tuple[CapturedAttention, Mapping[str, Any]]:
    """The record of images or a sound, and the inputs that it was made from.

    For an encoder–decoder the text is the target if the encoder reads no text, and the model writes one itself where
    none is given.

    Raises:
        InputError, TooLongError: the images, the sound or the text cannot be used.
        ModelError: the model reads no images or no sound.
    """
    processed = _processed(loaded, media, truncate)
    inputs = _completed(loaded, processed, media)
    return _recorded(loaded, processed, inputs, check), inputs


def examine_media(
    loaded: LoadedModel, media: Media, *, tried: int = TRIED
) -> tuple[CapturedAttention, Mapping[str, Any], list[PlaceCheck]]:
    """The record of images, a film or a sound, its inputs, and its places held against the original.

    Args:
        tried: how many tokens of each axis are tried.

    Raises:
        InputError, TooLongError: the images, the film, the sound or the text cannot be used.
        ModelError: the model does not read them.
    """
    processed = _processed(loaded, media, truncate=False)
    inputs = _completed(loaded, processed, media)
    record = _recorded(loaded, processed, inputs, check=True)
    return record, inputs, check_places(loaded, record, inputs, processed, tried=tried)


def prepare_media(loaded: LoadedModel, media: Media, *, truncate: bool = False) -> tuple[Prepared, Processed]:
    """Inputs of a forward about images or a sound, with the tokens of the last stack and their places.

    The main text is what the last layer reads: cells before a text, or the cells that a decoder looks at.

    Raises:
        InputError, TooLongError: the images, the sound or the text cannot be used.
        ModelError: the model reads no images or no sound.
    """
    processed = _processed(loaded, media, truncate)
    inputs = _completed(loaded, processed, media)
    last = _recorded(loaded, processed, inputs, check=True).entries[-1]
    target = (last.queries,) if last.site.kind == "cross" else None
    given = loaded.to_device(accepted(loaded.model, inputs))
    return Prepared(given, (last.keys,), target), processed


def generate_media(
    loaded: LoadedModel, media: Media, *, max_new_tokens: int = 40, check: bool = True, **options: Any
) -> tuple[CapturedAttention, Mapping[str, Any]]:
    """Let the model write about images or a sound, and record what every written token attends to.

    Args:
        options: further arguments of the model's ``generate``.

    Raises:
        InputError: the images, the sound or an option cannot be used.
        ModelError: the model cannot write, or reads no images or no sound.
    """
    if not loaded.can_generate:
        raise ModelError(
            f"{loaded.name} cannot generate text: {type(loaded.model).__name__} has no language-model head."
        )
    processed = _processed(loaded, media, truncate=False)
    inputs = dict(processed.inputs)
    options |= {"max_new_tokens": max_new_tokens}
    tokenizer = loaded.need_tokenizer()
    if loaded.architecture == "encoder-decoder":
        ids = _started(loaded, written_targets(loaded, inputs, **options)[0])
        inputs["decoder_input_ids"] = ids
        start = 1
    else:
        start = inputs["input_ids"].shape[1]
        ids = generated_ids(loaded, inputs, start=start, **options)[0]
        inputs = _continued(inputs, ids)
    written = tokenizer.decode(ids[0, start:], skip_special_tokens=True)
    record = _recorded(loaded, processed, accepted(loaded.model, inputs), check)
    return replace(record, notes={**record.notes, "prompt_tokens": start, "written": written}), inputs


def _processed(loaded: LoadedModel, media: Media, truncate: bool) -> Processed:
    if media.sound is not None:
        return process_sound(loaded.need_processor(), media.sound, truncate=truncate)
    parameters = forward_parameters(loaded.model)
    if not any("pixel" in name or "patches" in name or "image" in name for name in parameters) and not any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()
    ):
        raise ModelError(f"{loaded.name} reads no images: its forward takes {', '.join(list(parameters)[:4])}.")
    beside = _reads_text(loaded)
    text = media.text if beside or loaded.architecture != "encoder-decoder" else None
    if media.film is not None:
        frames = read_film(media.film, _frames_read(loaded))
        return process_film(loaded.need_processor(), frames, text, beside_text=beside)
    return process_images(loaded.need_processor(), media.images, text, messages=media.messages, beside_text=beside)


def _frames_read(loaded: LoadedModel) -> int | None:
    """How many frames of a film the model reads, if its configuration says so."""
    holders = (loaded.config, *(getattr(loaded.config, name, None) for name in ("vision_config", "encoder")))
    for holder in holders:
        for name in ("num_frames", "frames_per_clip"):
            number = getattr(holder, name, None)
            if isinstance(number, int) and number > 1:
                return number
    return None


def _reads_text(loaded: LoadedModel) -> bool:
    """Whether a text stands beside the image in the model's inputs, and is not what a decoder writes."""
    return "input_ids" in forward_parameters(loaded.model)


def _completed(loaded: LoadedModel, processed: Processed, media: Media) -> dict[str, Any]:
    inputs = dict(processed.inputs)
    if loaded.architecture != "encoder-decoder" or "decoder_input_ids" in inputs:
        return inputs
    if media.text is not None and not _reads_text(loaded):
        row = shifted_target(loaded, media.text)[None]
        if row.shape[1] > 1 and row[0, 0] == row[0, 1]:
            row = row[:, 1:]  # the tokenizer wrote the start itself, and shifting put it there once more
    elif loaded.can_generate:
        limit = loaded.max_target_length
        longest = LONGEST_TARGET if limit is None else max(1, min(LONGEST_TARGET, limit - 1))
        settings = getattr(loaded.model, "generation_config", None)
        longest = min(longest, getattr(settings, "max_new_tokens", None) or longest)
        row = _started(loaded, written_targets(loaded, inputs, max_new_tokens=longest)[0])
    else:
        return inputs
    return inputs | {"decoder_input_ids": row}


def _recorded(loaded: LoadedModel, processed: Processed, inputs: dict[str, Any], check: bool) -> CapturedAttention:
    records = record_inputs(loaded, inputs, check=check, places=False)
    found = placed(loaded, records, inputs, processed)
    if len(found) != 1:
        raise InputError(f"{loaded.name} made {len(found)} texts of these images; record them one by one.")
    return replace(found[0], media=(*processed.images, *processed.sounds))


def _started(loaded: LoadedModel, ids: Tensor) -> Tensor:
    """A generated target with the token that it starts with, which Whisper's ``generate`` leaves away."""
    start = start_id(loaded)
    return ids if int(ids[0, 0]) == start else torch.cat([torch.tensor([[start]]), ids], 1)


def _continued(inputs: Mapping[str, Any], ids: Tensor) -> dict[str, Any]:
    """The inputs with the whole text; what has one number per token goes on as it ended."""
    result = dict(inputs)
    size, whole = inputs["input_ids"].shape[1], ids.shape[1]
    for name, value in inputs.items():
        if name != "input_ids" and isinstance(value, Tensor) and value.dim() == 2 and value.shape[1] == size:
            fill = 1 if name == "attention_mask" else 0
            more = torch.full((len(value), whole - size), fill, dtype=value.dtype)
            result[name] = torch.cat([value.cpu(), more], 1)
    return result | {"input_ids": ids}


def _of_messages(messages: Messages) -> tuple[list[Image], list[dict[str, Any]]]:
    """The images of a chat, and the chat with a mark for each."""
    images: list[Image] = []
    marked = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, (list, tuple)):
            parts = []
            for part in content:
                if isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
                    source = next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), None)
                    if source is None:
                        raise InputError("An image of the chat has no content; give {'type': 'image', 'image': …}.")
                    images.append(read_image(source))
                    parts.append({"type": "image"})
                else:
                    parts.append(part)
            content = parts
        marked.append({**message, "content": content})
    return images, marked
