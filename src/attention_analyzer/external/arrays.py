"""Arrays as other programs hold them (PyTorch, NumPy, JAX, nested lists) as one tensor a layer; names of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.text.tokens import Tokens


def layer_arrays(given: Any, name: str, axes: str, batch: int | None) -> list[Tensor]:
    """One tensor of three axes for every layer.

    Args:
        given: a list or tuple with one array a layer, of the three axes or with a batch before them; or one array, of
            one layer (three axes), of all (a layer axis before them), or of all with a batch (layer, batch, and the
            three).
        name: what the arrays are, for messages: "weights".
        axes: the three, for messages: "head, query, key".
        batch: which row of a batch; needed where it has several.

    Raises:
        InputError: what was given is no such thing.
        SelectionError: the batch has no such row.
    """
    _refuse_wrappers(given, name, axes)
    layers = _layers(given, name, axes)
    if not layers:
        raise InputError(f"No {name} were given, but an empty list; one array [{axes}] for each layer is needed.")
    return [_of_one_text(layer, f"{name} of layer {number}", axes, batch) for number, layer in enumerate(layers)]


def as_tensor(given: Any, name: str) -> Tensor:
    """A tensor of real numbers, detached; it may share memory with what was given.

    Raises:
        InputError: it is no array of numbers.
    """
    if given is None:
        raise InputError(
            f"The {name} are None: a model returns None unless it is loaded with attn_implementation='eager' and "
            "called with output_attentions=True (AttentionAnalyzer(model).record(text) needs neither); leave out "
            "layers that have no attention, and number the others with layers=[…]."
        )
    try:
        tensor = given.detach() if isinstance(given, Tensor) else _from_numbers(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"The {name} are not an array of numbers: {reason}.") from None
    if tensor.is_nested:
        raise InputError(
            f"The {name} must be a plain array, not a nested tensor; give its parts, one by one, as a list."
        )
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided or tensor.device.type == "meta":
        raise InputError(f"The {name} must be a plain array of real numbers, not {tensor.dtype}, {tensor.layout}.")
    return tensor


def as_tokens(given: Any, name: str = "tokens") -> Tokens:
    """What an axis shows: :class:`.Tokens` as they are, or strings, one for each token.

    Raises:
        InputError: they are no list of strings.
    """
    if isinstance(given, Tokens):
        return given
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise InputError(f"The {name} must be a list of strings, one for each token, not {_described(given)}.")
    pieces = list(given)
    for number, piece in enumerate(pieces):
        if not isinstance(piece, str):
            raise InputError(
                f"The {name} must be strings, but number {number} is {_described(piece)}; "
                "tokenizer.convert_ids_to_tokens(ids) gives strings."
            )
    if not pieces:
        raise InputError(f"The list of {name} is empty; one string for each token is needed.")
    return Tokens.of_pieces(pieces)


def layer_numbers(given: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The layers' numbers: those given, or counted from zero.

    Raises:
        InputError: they are not one number for each layer, or not different ones.
    """
    if given is None:
        return tuple(range(count))
    numbers: tuple[Any, ...] = tuple(given)
    sound = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    if not sound or len(set(numbers)) != len(numbers) or len(numbers) != count:
        raise InputError(
            f"layers={list(numbers)} must name each of the {count} layers given by a different number from zero."
        )
    return numbers


def _layers(given: Any, name: str, axes: str) -> list[Tensor]:
    if is_array(given):
        return _of_one_array(as_tensor(given, f"{name} given"), name, axes)
    if isinstance(given, list | tuple) and given and all(_is_nested_list(each) for each in given):
        try:
            whole = torch.tensor(given)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            pass  # Layers of different sizes, or arrays further inside: one by one.
        else:
            return _of_one_array(whole, name, axes)
    return [as_tensor(layer, f"{name} of layer {number}") for number, layer in enumerate(given)]


def _of_one_array(array: Tensor, name: str, axes: str) -> list[Tensor]:
    if array.dim() in (2, 3):
        return [array]
    if array.dim() in (4, 5):
        return list(array)
    raise InputError(
        f"The {name} have the shape {tuple(array.shape)}, but [{axes}], [layer, {axes}] or [layer, batch, {axes}] was "
        "expected."
    )


def _of_one_text(layer: Tensor, name: str, axes: str, batch: Any) -> Tensor:
    shape = tuple(layer.shape)
    if layer.dim() == 2:
        layer = layer[None]
    if layer.dim() == 3:
        if batch not in (None, 0):
            raise InputError(
                f"Row {batch} of a batch was asked for, but the {name} have the shape {shape}, without a batch; give "
                f"layers as a list of arrays [batch, {axes}], or one array [layer, batch, {axes}]."
            )
        return layer
    if layer.dim() != 4 or 0 in shape:
        raise InputError(f"The {name} have the shape {shape}, but [{axes}] or [batch, {axes}] was expected.")
    if batch is None and shape[0] > 1:
        raise InputError(
            f"The {name} have the shape {shape}, a batch of {shape[0]} texts; a record is of one: choose it with "
            f"batch=0 to batch={shape[0] - 1}."
        )
    row = batch or 0
    if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < shape[0]:
        raise SelectionError(f"There is no row {batch!r} in the batch of the {name}, whose shape is {shape}.")
    return layer[row]


def _from_numbers(given: Any) -> Tensor:
    if isinstance(given, str | bytes):
        raise TypeError(f"{_described(given)} was given")
    if hasattr(given, "__array__"):
        return _from_numpy(given)
    if isinstance(given, list | tuple) and any(is_array(each) for each in given):
        return torch.stack([as_tensor(each, "parts") for each in given])
    return torch.tensor(given)


def _from_numpy(given: Any) -> Tensor:
    import numpy as np

    array = np.asarray(given)
    if array.dtype.name == "bfloat16":  # NumPy knows it from JAX's ml_dtypes; torch does not take it from NumPy.
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # A copy: torch takes neither negative strides nor foreign byte orders, and warns of arrays that are read-only.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _refuse_wrappers(given: Any, name: str, axes: str) -> None:
    if given is None:
        as_tensor(None, name)
    attentions = getattr(given, "attentions", None)
    if attentions is not None or hasattr(given, "last_hidden_state"):
        raise InputError(f"The {name} are a whole {type(given).__name__}; pass its attentions: outputs.attentions.")
    if isinstance(given, tuple) and given and all(isinstance(step, tuple) for step in given):
        raise InputError(
            f"The {name} are {len(given)} tuples of {len(given[0])} arrays each, as generate() returns them, one for "
            "every step; capture the generation instead (with capture(model) as captured: …), or give the attentions "
            "of one forward over the finished text."
        )
    if isinstance(given, Mapping | str | bytes) or not hasattr(given, "__iter__"):
        raise InputError(f"The {name} must be arrays, one [{axes}] for each layer in a list, not {_described(given)}.")


def is_array(value: Any) -> bool:
    """Whether a value is an array of PyTorch, NumPy, JAX or anything that NumPy understands."""
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def _is_nested_list(value: Any) -> bool:
    """Whether a value is a list of lists or numbers, with no array on the way down to the first number."""
    if not isinstance(value, list | tuple) or not value:
        return False
    inside = value[0]
    return isinstance(inside, int | float) or _is_nested_list(inside)


def _described(value: Any) -> str:
    if isinstance(value, str):
        return f"one string ({value[:20]!r})"
    if value is None:
        return "None"
    kind = type(value).__name__
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    return f"{article} {kind}" + (f" ({value})" if isinstance(value, int | float) else "")
