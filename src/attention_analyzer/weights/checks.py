"""What numbers must be like before they are taken for attention: every shape and value, whatever their source.

Arrays of a user, tensors of a file: the passes over weights (one of them compiled) trust what they are given, so
nothing reaches them unchecked. Every function raises an :class:`InputError` of one sentence, with both shapes where two
disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.weights.bias import Bias, RelativeBias
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

#: How far the sum of a row may be from one: weights in bfloat16, or printed with three decimals, are off by less.
ROW_SUM_TOLERANCE = 0.02
#: Band limits beyond this are no offsets of any text.
_MAX_OFFSET = 1 << 40
_LARGEST_NUMBER = 1e30
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_weights(weights: Tensor, name: str, *, partial_rows: bool = False) -> None:
    """Weights ``[head, query, key]`` are finite, not negative, and their rows sum to one.

    Those of several texts have an axis before. A row of zeros is a query that sees no key (padding), and is accepted.

    Args:
        name: what the weights are of, to begin the sentence with: "layer 3".
        partial_rows: rows may also sum to less than one, as they do where a model has attention sinks.

    Raises:
        InputError: a value or a row cannot be a weight's.
    """
    if not weights.is_floating_point():
        raise InputError(f"The weights of {name} are {_kind(weights)}; numbers in floating point are needed.")
    axes = ("text", "head", "query", "key")[-weights.dim() :]
    finite = torch.isfinite(weights)
    if not bool(finite.all()):
        place = _first(~finite)
        value = float(weights[place])
        hint = "; -inf is a hidden score before the softmax: pass softmax(scores)" if value == -math.inf else ""
        raise InputError(f"The weight of {name}, {_cell(place, axes)} is {value}, but weights must be finite{hint}.")
    if bool((weights < 0).any()):
        lowest = float(weights.min())
        raise InputError(
            f"The weights of {name} hold a negative number, {lowest:.3g}: they look like scores before the softmax; "
            "pass softmax(scores)."
        )
    totals = weights.sum(-1, dtype=torch.float64 if weights.dtype == torch.float64 else torch.float32)
    wrong = totals > 1 + ROW_SUM_TOLERANCE
    if not partial_rows:
        wrong |= (totals < 1 - ROW_SUM_TOLERANCE) & (totals > 0)
    if bool(wrong.any()):
        place = _first(wrong)
        total = float(totals[place])
        hint = "" if total > 1 else " (partial_rows=True accepts smaller sums, which attention sinks make)"
        raise InputError(
            f"A row of {name} sums to {total:.3g} ({_cell(place, axes)}), but the weights of a query sum to 1 after "
            f"the softmax and without dropout{hint}."
        )


def check_source(source: ScoreSource, name: str) -> None:
    """Queries, keys, and all that goes with them, have shapes that fit each other, and numbers that are finite.

    Raises:
        InputError: a shape, a dtype or a number does not fit; the sentence begins with ``name``.
    """
    for part, tensor in (("queries", source.query), ("keys", source.key)):
        if tensor.dim() != 4 or 0 in tensor.shape:
            raise InputError(
                f"The {part} of {name} have the shape {_shape(tensor)}, but [head, token, channel] was expected, none "
                "of them 0."
            )
    check_shapes(source, name)
    tensors = {"queries": source.query, "keys": source.key, "sinks": source.sinks, "bias": None}
    if source.bias is not None:
        is_relative = isinstance(source.bias, RelativeBias)
        tensors["bias"] = source.bias.diagonals if is_relative else source.bias.values  # type: ignore[union-attr]
    for part, values in tensors.items():
        if values is not None:
            check_floats(values, f"{part} of {name}")


def check_shapes(source: ScoreSource, name: str) -> None:
    """Everything but the numbers of :func:`check_source`: what a pass over memory has to rely on. Reads no tensor.

    Raises:
        InputError: a shape, a dtype or a size does not fit.
    """
    query, key = source.query, source.key
    for part, tensor in (("queries", query), ("keys", key)):
        if tensor.dim() != 4 or tensor.shape[1] == 0:
            raise InputError(
                f"The {part} of {name} have the shape {_shape(tensor)}, but [head, token, channel] was expected."
            )
        _check_float_dtype(tensor, f"{part} of {name}")
    if query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        raise InputError(
            f"The queries of {name} have the shape {_shape(query)} and the keys {_shape(key)}; their channels (last "
            "axis) must agree, and their batches, if there are any."
        )
    if query.shape[1] % key.shape[1]:
        raise InputError(
            f"{name} has {query.shape[1]} query heads and {key.shape[1]} key heads; the query heads must be a multiple "
            "of the key heads."
        )
    check_scale(source.scaling, source.softcap, name)
    _check_sinks(source, name)
    check_visibility(source.visibility, (source.batch, source.heads, source.queries, source.keys), name)
    if source.bias is not None:
        _check_bias(source.bias, (source.batch, source.heads, source.queries, source.keys), name)


def check_scale(scaling: object, softcap: object, name: str) -> None:
    """The factor on the scores is a finite number, and the softcap, where there is one, a positive one.

    Raises:
        InputError: one of them is not.
    """
    if not _is_number(scaling):
        raise InputError(f"The scaling of {name} is {scaling!r}, but a finite number was expected.")
    if softcap is not None and not (_is_number(softcap) and float(softcap) > 0):  # type: ignore[arg-type]
        raise InputError(f"The softcap of {name} is {softcap!r}, but a positive number or None was expected.")


def check_visibility(seen: Visibility, shape: Sequence[int], name: str) -> None:
    """A visibility describes exactly the cells of weights with this ``(batch, heads, queries, keys)``.

    Raises:
        InputError: a size, shape or dtype does not fit.
    """
    batch, heads, queries, keys = shape
    if (seen.queries, seen.keys) != (queries, keys):
        raise InputError(
            f"The visibility of {name} is of {seen.queries} queries and {seen.keys} keys, but the weights have "
            f"{queries} and {keys}."
        )
    limits: dict[str, Any] = {"lower": seen.lower, "upper": seen.upper}
    for side, limit in limits.items():
        if limit is not None and (
            not isinstance(limit, int) or isinstance(limit, bool) or not -_MAX_OFFSET <= limit <= _MAX_OFFSET
        ):
            raise InputError(f"The {side} limit of the band of {name} is {limit!r}, but an offset or None is needed.")
    if seen.key_seen is not None:
        _check_shape(seen.key_seen, ((1, batch), (keys,)), f"key mask of {name}")
        _check_bool(seen.key_seen, f"key mask of {name}")
    if seen.segments is not None:
        for part, tensor, size in zip(("query", "key"), seen.segments, (queries, keys), strict=True):
            _check_shape(tensor, ((1, batch), (size,)), f"{part} segments of {name}")
            if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
                raise InputError(f"The {part} segments of {name} are {_kind(tensor)}, but whole numbers are needed.")
    if seen.mask is not None:
        _check_shape(seen.mask, ((1, batch), (1, heads), (queries,), (keys,)), f"mask of {name}")
        _check_bool(seen.mask, f"mask of {name}")


def check_floats(tensor: Tensor, name: str) -> None:
    """A tensor is float16, bfloat16, float32 or float64, and every number in it finite.

    Raises:
        InputError: it is of another dtype, or a number is NaN or infinite.
    """
    _check_float_dtype(tensor, name)
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        place = _first(~finite)
        raise InputError(f"The {name} hold {float(tensor[place])} at {list(place)}, but finite numbers are needed.")


def _check_float_dtype(tensor: Tensor, name: str) -> None:
    if tensor.dtype not in _FLOATS:
        raise InputError(f"The {name} are {_kind(tensor)}, but float16, bfloat16, float32 or float64 is needed.")


def _check_sinks(source: ScoreSource, name: str) -> None:
    sinks = source.sinks
    if sinks is None:
        return
    whole = (source.batch, source.heads, source.queries)
    if tuple(sinks.shape) not in {(source.heads,), whole}:
        raise InputError(
            f"The sinks of {name} have the shape {tuple(sinks.shape)}, but [{source.heads}], one for each head, or "
            f"{list(whole)} was expected."
        )
    _check_float_dtype(sinks, f"sinks of {name}")


def _check_bias(bias: Bias, shape: tuple[int, int, int, int], name: str) -> None:
    batch, heads, queries, keys = shape
    if not isinstance(bias, RelativeBias):
        _check_shape(bias.values, ((1, batch), (1, heads), (queries,), (keys,)), f"bias of {name}")
        _check_float_dtype(bias.values, f"bias of {name}")
        return
    if bias.diagonals.dim() != 2 or bias.diagonals.shape[0] not in {1, heads}:
        raise InputError(
            f"The bias of {name} has diagonals of the shape {tuple(bias.diagonals.shape)}, but [{heads} or 1, offset] "
            "was expected."
        )
    whole = all(isinstance(each, int) for each in (bias.origin, bias.queries, bias.keys))
    if not whole or (bias.queries, bias.keys) != (queries, keys):
        raise InputError(
            f"The bias of {name} is of {bias.queries!r} queries and {bias.keys!r} keys, but the weights have {queries} "
            f"and {keys}."
        )
    width = bias.diagonals.shape[1]
    if bias.origin - (queries - 1) < 0 or bias.origin + keys > width:
        raise InputError(
            f"The bias of {name} has {width} diagonals with offset 0 at {bias.origin}, which do not cover {queries} "
            f"queries and {keys} keys."
        )
    _check_float_dtype(bias.diagonals, f"bias of {name}")


def _check_shape(tensor: Tensor, allowed: Sequence[tuple[int, ...]], name: str) -> None:
    if tensor.dim() == len(allowed) and all(size in sizes for size, sizes in zip(tensor.shape, allowed, strict=True)):
        return
    expected = ", ".join(" or ".join(str(size) for size in sorted(set(sizes))) for sizes in allowed)
    raise InputError(f"The {name} has the shape {tuple(tensor.shape)}, but [{expected}] was expected.")


def _check_bool(tensor: Tensor, name: str) -> None:
    if tensor.dtype != torch.bool:
        raise InputError(f"The {name} is {_kind(tensor)}, but booleans (True where a query sees a key) are needed.")


def _is_number(value: object) -> bool:
    # An integer that no float holds is no scale either.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """As a user gives it: one text needs no batch."""
    return tuple(tensor.shape[1:] if tensor.dim() == 4 and tensor.shape[0] == 1 else tensor.shape)


def _first(wrong: Tensor) -> tuple[int, ...]:
    return tuple(int(index) for index in wrong.nonzero()[0])


def _cell(place: tuple[int, ...], axes: tuple[str, ...]) -> str:
    """``head 0, query 2, key 3``; a row's place has no key."""
    return ", ".join(f"{name} {index}" for name, index in zip(axes, place, strict=False))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
