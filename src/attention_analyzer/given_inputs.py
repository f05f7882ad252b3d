"""Inputs that a user gives instead of a text: ids and what goes with them, one row per text, padded or not."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attention_analyzer.errors import InputError
from attention_analyzer.models.signatures import forward_parameters
from attention_analyzer.weights.additive import HIDES_AT, read_additive

#: Inputs that hold the tokens of the main text, the first that is there.
SOURCE = ("input_ids", "inputs_embeds")
#: The same of an encoder–decoder's target.
TARGET = ("decoder_input_ids", "decoder_inputs_embeds")
#: Instead of an id: a learned token that has no text, and a token that a cache held before it was captured.
LEARNED, EARLIER = -1, -2
#: Inputs with one number per token, by the axis that they lie along.
_PER_TOKEN = {
    "source": (*SOURCE, "attention_mask", "token_type_ids", "position_ids", "special_tokens_mask"),
    "target": (*TARGET, "decoder_attention_mask", "decoder_position_ids"),
}


def as_tensors(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with lists and arrays made tensors.

    Raises:
        InputError: the inputs are no mapping, or a list in them is ragged or holds something else than numbers.
    """
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"Inputs of a forward are a mapping such as {{'input_ids': …}}, but {type(inputs).__name__} was given."
        )
    result = {}
    for name, value in inputs.items():
        if isinstance(value, (list, tuple, np.ndarray)):
            try:
                value = torch.as_tensor(value)
            except (ValueError, TypeError, RuntimeError):
                raise InputError(
                    f"{name} could not be made a tensor; give numbers in rows of one length, padded and with an "
                    "attention_mask, or a list of inputs, one mapping per text."
                ) from None
        result[str(name)] = value
    return result


def single_texts(inputs: Any) -> list[dict[str, Tensor]]:
    """One mapping per text, each ``[1, token]`` and without padding.

    Args:
        inputs: a batch (a mapping, or ids ``[text, token]``), or a sequence of mappings or of lists of ids.

    Raises:
        InputError: there is no text, or something else was given.
    """
    if isinstance(inputs, (Tensor, np.ndarray)):
        inputs = {"input_ids": inputs}
    if isinstance(inputs, Mapping):
        return _rows(as_tensors(inputs))
    if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Sequence):
        raise InputError(
            "inputs=… takes a batch such as a tokenizer's output, or a list of such mappings or of lists of ids, not "
            f"{type(inputs).__name__}."
        )
    found = [row for given in inputs for row in _rows(as_tensors(_mapping(given)))]
    if not found:
        raise InputError("No inputs were given; at least one text is needed.")
    return found


#: How torch's own modules are told of padding, and the vectors whose axis that is, by the token axis.
_TORCH_PADDING = {
    "source": (("src_key_padding_mask", "src"), ("memory_key_padding_mask", "memory"), ("key_padding_mask", "key")),
    "target": (("tgt_key_padding_mask", "tgt"),),
}


def vectors_axis(inputs: Mapping[str, Any], axis: str = "source") -> tuple[int, Tensor | None] | None:
    """Of torch's own modules, the length of a token axis, and what of it is no padding; None where that is not told.

    They take vectors ``[text, token, channel]`` or ``[token, text, channel]``; which of them, a mask of padding tells.
    """
    found = [mask for names in _TORCH_PADDING.values() for mask, _ in names if _is_padding(inputs.get(mask))]
    for mask_name, name in _TORCH_PADDING[axis]:
        vectors = inputs.get(name)
        mask: Tensor | None = inputs[mask_name] if _is_padding(inputs.get(mask_name)) else None
        if not found or not isinstance(vectors, Tensor) or vectors.dim() != 3:
            continue
        if name == "key" and inputs.get("query") is not vectors:
            continue  # queries are other tokens, of which nothing is said
        texts = inputs[found[0]].shape[0]
        lengths = {vectors.shape[1 - at] for at in (0, 1) if vectors.shape[at] == texts}
        if mask is not None:
            lengths &= {mask.shape[1]}
        if len(lengths) != 1:
            return None
        padding = mask if mask is None or mask.dtype == torch.bool else mask < 0
        return lengths.pop(), None if padding is None or not bool(padding.any()) else ~padding
    return None


def _is_padding(mask: Any) -> bool:
    return isinstance(mask, Tensor) and mask.dim() == 2


def valid_tokens(inputs: Mapping[str, Any], axis: str = "source") -> Tensor | None:
    """bool ``[text, token]``: False for padding, as the attention mask says it; None if nothing is padding.

    Args:
        axis: "source", or "target" for an encoder–decoder's target.
    """
    mask = inputs.get("attention_mask" if axis == "source" else "decoder_attention_mask")
    if isinstance(mask, Mapping):  # one mask per kind of layer, such as "full_attention"
        mask = next((each for each in mask.values() if isinstance(each, Tensor)), None)
    if isinstance(mask, Tensor) and mask.dim() in (2, 3, 4):
        seen = mask.bool() if mask.dim() == 2 else _ever_seen(mask)
        return None if bool(seen.all()) else seen
    if mask is None and (of_vectors := vectors_axis(inputs, axis)) is not None:
        return of_vectors[1]
    labels = inputs.get("labels")
    if axis == "target" and isinstance(labels, Tensor) and labels.dim() == 2 and bool((labels == -100).any()):
        # Where nothing is to be said from some token on, the target has ended.
        return (labels != -100).flip(1).cummax(1).values.flip(1)
    return None


def main_ids(inputs: Mapping[str, Any], names: Sequence[str] = SOURCE) -> Tensor | None:
    """Ids ``[text, token]`` of an axis, if they were given."""
    value = inputs.get(names[0])
    if isinstance(value, Tensor) and value.dim() == 2 and not value.is_floating_point():
        return value
    return None


def ids_argument(model: nn.Module) -> str:
    """What the model's forward calls the ids of a text: ``input_ids``, or its first argument's name."""
    parameters = forward_parameters(model)
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    if "input_ids" in parameters or open_ended or not parameters:
        return "input_ids"
    return next(iter(parameters))


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {"input_ids": given}


def _ever_seen(mask: Tensor) -> Tensor:
    """bool ``[text, key]`` of a mask ``[text, (head,) query, key]``, boolean, of zeros and ones, or additive."""
    cells = mask if mask.dim() == 4 else mask[:, None]
    if cells.dtype == torch.bool or not cells.is_floating_point() or bool((cells > 0).any()):
        return cells.bool().any(1).any(1)
    seen = (cells > HIDES_AT).any(1).any(1)
    if cells.shape[-2] != cells.shape[-1]:
        return seen
    # A text's token whose own row holds low finite numbers alone sees them all. Of padding that does not matter.
    is_text = torch.where(seen.any(-1, keepdim=True), seen, True)
    return seen | read_additive(cells, counted=is_text[:, None, :, None]).seen.any(1).any(1)


def _rows(tensors: dict[str, Any]) -> list[dict[str, Tensor]]:
    size = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    given = next((name for name in SOURCE if name in size), None) or next(iter(size), None)
    if given is None:
        raise InputError(
            f"These inputs ({', '.join(tensors) or 'none'}) hold no ids of a text; give input_ids or inputs_embeds."
        )
    whole = 3 if size[given].is_floating_point() else 2
    tensors = {
        name: value[None] if isinstance(value, Tensor) and size[given].dim() == whole - 1 else value
        for name, value in tensors.items()
    }
    main = tensors[given]
    if main.dim() != whole or not main.shape[0] or not main.shape[1]:
        raise InputError(f"{given} has the shape {tuple(size[given].shape)}, but [text, token] was expected.")
    if any(isinstance(value, Tensor) and value.dim() > 2 for name, value in tensors.items() if "mask" in name):
        raise InputError(
            "An attention mask with a row per query cannot be cut into texts; give one mapping per text with a mask "
            "[1, token], or record the batch as it is with record(inputs=…) or capture()."
        )
    axes = {"source": (main, valid_tokens(tensors)), "target": (_target(tensors), valid_tokens(tensors, "target"))}
    return [_row(tensors, given, axes, row) for row in range(main.shape[0])]


def _target(tensors: Mapping[str, Any]) -> Tensor | None:
    return next((tensors[name] for name in TARGET if isinstance(tensors.get(name), Tensor)), None)


def _row(
    tensors: Mapping[str, Any], given: str, axes: Mapping[str, tuple[Tensor | None, Tensor | None]], row: int
) -> dict[str, Tensor]:
    axis_of = {name: axis for axis, names in _PER_TOKEN.items() for name in names} | {given: "source"}
    result = {}
    for name, value in tensors.items():
        if value is None or isinstance(value, (bool, int, float, str)):
            continue  # a switch such as use_cache changes no token
        if name not in axis_of or not isinstance(value, Tensor):
            raise InputError(
                f"Several texts are run by their ids here, and {name} is none of what goes with ids; record these "
                "inputs with record(inputs=…) or capture() instead."
            )
        valid = axes[axis_of[name]][1]
        cut = value[row : row + 1]
        result[name] = cut if valid is None else cut[:, valid[row].to(cut.device)]
        if not result[name].shape[1]:
            raise InputError(f"Text {row} of the inputs has no token but padding.")
    return result
