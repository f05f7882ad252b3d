"""The file in which any program can write attention: one safetensors file that says what its arrays are.

The metadata entry ``attention_layers`` is a JSON object; each layer has the tensors ``layers.N.query`` and
``layers.N.key``, or ``layers.N.weights``, and may have ``layers.N.sinks``, ``.bias`` and ``.mask``. They mean what the
arguments of :meth:`.AttentionRecord.from_queries_and_keys` do; docs/external.md describes them for writers. What does
not belong to the layout is refused, so that nothing a writer meant is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.external.given_queries import record_from_queries_and_keys
from attention_analyzer.external.given_weights import record_from_weights

#: The metadata entry.
ENTRY = "attention_layers"
VERSION = 1
_NAME = re.compile(r"layers\.(0|[1-9]\d{0,5})\.(query|key|weights|sinks|bias|mask)")
#: Entries of the JSON object, with the types that JSON gives them; the items of lists are checked with the arrays.
_FIELDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "tokens": (list,),
    "key_tokens": (list,),
    "causal": (bool,),
    "scaling": (int, float, list),
    "window": (int, list),
    "softcap": (int, float, list),
    "partial_rows": (bool,),
    "stack": (str,),
    "model_name": (str,),
}
_NOT_WITH_WEIGHTS = ("query", "key", "scaling", "window", "softcap", "sinks", "bias", "mask")
_STACK = re.compile(r"[A-Za-z][\w-]{0,63}")


def record_from_layers(description: str, tensors: Mapping[str, Tensor], path: Path) -> CapturedAttention:
    """The record that a file describes.

    Args:
        description: what its metadata entry holds; ``tensors`` all of its tensors.

    Raises:
        FileFormatError: a part is missing, unknown, or does not fit the others.
    """
    try:
        return _record(_fields(description), _layers(tensors))
    except InputError as error:
        raise FileFormatError(f"{path} is not as the layout of attention layers asks for: {error}") from None


def _record(fields: dict[str, Any], layers: Mapping[int, Mapping[str, Tensor]]) -> CapturedAttention:
    numbers = sorted(layers)
    parts: dict[str, Any] = {part: [layers[number].get(part) for number in numbers] for part in _parts(layers)}
    tokens = fields.pop("tokens")
    common: dict[str, Any] = {"layers": numbers}
    common |= {name: fields.pop(name) for name in ("key_tokens", "stack", "model_name") if name in fields}
    if "weights" in parts:
        others = [name for name in _NOT_WITH_WEIGHTS if name in fields or name in parts]
        if others:
            raise InputError(f"it has weights, with which {', '.join(others)} cannot stand.")
        return record_from_weights(parts["weights"], tokens, **common, **fields)
    for part in ("query", "key"):
        if part not in parts:
            raise InputError(f"layers.{numbers[0]}.{part} is missing.")
    if "causal" not in fields and "key_tokens" not in common:
        raise InputError('"causal" is missing: true where queries see no later key, else false.')
    if "partial_rows" in fields:
        raise InputError('"partial_rows" is for weights, but queries and keys are given.')
    queries, keys = parts.pop("query"), parts.pop("key")
    return record_from_queries_and_keys(queries, keys, tokens, **common, **fields, **parts)


def _fields(description: str) -> dict[str, Any]:
    """The checked JSON object; an entry that is null is left out, as if it were not there."""
    try:
        found: Any = json.loads(description)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its metadata entry {ENTRY!r} is no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise InputError(f"its metadata entry {ENTRY!r} must be a JSON object.")
    fields = {name: value for name, value in found.items() if value is not None}
    for name, value in fields.items():
        kinds = _FIELDS.get(name)
        if kinds is None:
            raise InputError(f"{name!r} is no entry of it; the entries are {', '.join(_FIELDS)}.")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise InputError(f"{name!r} must be of the kind {expected}, but is {str(value)[:40]!r}.")
    version = fields.pop("version", VERSION)
    if version != VERSION:
        raise InputError(f"it has version {version}, but this release reads version {VERSION}.")
    if "tokens" not in fields:
        raise InputError('"tokens" is missing: a list with one string for each token.')
    if not _STACK.fullmatch(fields.get("stack", "decoder")):
        raise InputError(f"the stack {fields['stack'][:40]!r} is no name such as decoder or encoder.")
    return fields


def _layers(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    layers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"the tensor {name[:80]!r} is none of it; names are layers.N.query, .key, .weights, .sinks, .bias and "
                ".mask."
            )
        layers.setdefault(int(match[1]), {})[match[2]] = tensor
    if not layers:
        raise InputError("it has no tensors; layers.0.query and layers.0.key, or layers.0.weights, are expected.")
    return layers


def _parts(layers: Mapping[int, Mapping[str, Tensor]]) -> set[str]:
    """The parts that some layer has; queries and keys, or weights, must be there in all of them."""
    parts = {part for layer in layers.values() for part in layer}
    for number, layer in sorted(layers.items()):
        for part in ("query", "key", "weights"):
            if part in parts and part not in layer:
                raise InputError(f"layers.{number}.{part} is missing, which other layers have.")
    return parts
