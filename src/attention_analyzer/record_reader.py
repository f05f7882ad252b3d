"""From the header and tensors of a record's file to the record; every field is checked before anything is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.fields import Fields, depth_of
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.bias import Bias, DenseBias, RelativeBias
from attention_analyzer.weights.checks import check_source, check_visibility, check_weights
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

_STACK = re.compile(r"[^\s.\x00-\x1f][^.\x00-\x1f]{0,199}")
#: No text, head or layer is numbered higher than this.
_LARGEST_SIZE = 1 << 40
_LARGEST_OFFSET = 1 << 40
_DEEPEST_NOTES = 32


def read_record(header: Fields, tensors: Mapping[str, Tensor]) -> CapturedAttention:
    """The record that a header and its tensors describe.

    Args:
        header: the JSON of the file's metadata; its version is one that this release reads.
        tensors: all tensors of the file, by name.

    Raises:
        FileFormatError: a field or tensor is missing, left over, or not what it must be.
    """
    try:
        return _record(header, tensors)
    except InputError as error:
        raise FileFormatError(f"{header.name} is no record that can be used: {error}") from None


def _record(header: Fields, tensors: Mapping[str, Tensor]) -> CapturedAttention:
    axes = [Tokens.from_dict(axis) for axis in header.items("axes", least=1)]
    parts = _Parts(tensors, header.name)
    entries = tuple(
        _entry(Fields.of(site, f"{header.name}, site {number}"), parts, axes)
        for number, site in enumerate(header.items("sites", least=1))
    )
    names = [entry.site.name for entry in entries]
    if len(set(names)) < len(names):
        raise FileFormatError(f"{header.name} describes a site twice.")
    media = tuple(
        _medium(Fields.of(each, f"{header.name}, medium {number}"), parts.take(f"media.{number}"))
        for number, each in enumerate(header.items("media") if "media" in header.entries else ())
    )
    parts.check_all_used()
    notes = header.nested("notes").entries
    if depth_of(notes, _DEEPEST_NOTES) > _DEEPEST_NOTES:
        raise FileFormatError(f"The notes of {header.name} are nested more than {_DEEPEST_NOTES} levels deep.")
    deviation = header.number("deviation")
    if deviation < 0:
        raise FileFormatError(f"{header.name}: 'deviation' must not be negative, but is {deviation}.")
    return CapturedAttention(
        entries,
        header.text("model_name"),
        header.text("fingerprint"),
        header.flag("exact"),
        deviation,
        notes,
        media=media,
    )


def _medium(fields: Fields, tensor: Tensor) -> Image | Sound:
    kind, name = fields.text("kind"), fields.text("name")
    if kind == "image" and tensor.dtype == torch.uint8 and tensor.dim() == 3 and tensor.shape[-1] == 3:
        return Image(tensor.numpy(), name)
    if kind == "sound" and tensor.dtype == torch.float32 and tensor.dim() == 1:
        return Sound(tensor.numpy(), fields.whole("rate", 1, 1 << 20), name)
    raise FileFormatError(f"{fields.name} is no image and no sound that can be used.")


class _Parts:
    """The tensors of a file, each taken once."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        self._left, self._name = dict(tensors), name

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> Tensor:
        if name not in self._left:
            raise FileFormatError(f"{self._name} lacks the tensor {name!r}, which its header describes.")
        return self._left.pop(name)

    def take_if_there(self, name: str) -> Tensor | None:
        return self._left.pop(name, None)

    def check_all_used(self) -> None:
        if self._left:
            raise FileFormatError(
                f"{self._name} has the tensor {next(iter(self._left))[:80]!r}, which no site describes."
            )


def _entry(fields: Fields, parts: _Parts, axes: list[Tokens]) -> SiteRecord:
    stack, kind = fields.text("stack"), fields.text("kind")
    if not _STACK.fullmatch(stack) or kind not in {"self", "cross"}:
        raise FileFormatError(
            f"{fields.name} is in the stack {stack[:40]!r} of the kind {kind[:40]!r}, which cannot be."
        )
    site = Site(
        stack,
        cast(Kind, kind),
        fields.whole("layer", 0, _LARGEST_SIZE),
        fields.whole("heads", 1, _LARGEST_SIZE),
        fields.text("module"),
    )
    queries, keys = (axes[fields.whole(side, 0, len(axes) - 1)] for side in ("queries", "keys"))
    seen = _visibility(fields.nested("visibility"), site.name, parts)
    if (seen.queries, seen.keys) != (len(queries), len(keys)):
        raise FileFormatError(
            f"{fields.name} is of {seen.queries} queries and {seen.keys} keys, but there are {len(queries)} and "
            f"{len(keys)} tokens."
        )
    return SiteRecord(site, _weights(fields, site, seen, parts), queries, keys)


def _weights(fields: Fields, site: Site, seen: Visibility, parts: _Parts) -> AttentionWeights:
    name, weights = site.name, parts.take_if_there(f"{site.name}.weights")
    if weights is not None:
        if tuple(weights.shape) != (1, site.heads, seen.queries, seen.keys):
            raise _other_sizes(name, "weights", weights)
        # Files of the first version do not say whether rows may sum to less than one.
        partial = not fields.has("partial_rows") or fields.flag("partial_rows")
        check_weights(weights, name, partial_rows=partial)
        check_visibility(seen, weights.shape, name)
        _check_something_is_seen(seen, name)
        return DenseWeights(weights, seen)
    query, key = parts.take(f"{name}.query"), parts.take(f"{name}.key")
    if query.dim() != 4 or tuple(query.shape[:3]) != (1, site.heads, seen.queries):
        raise _other_sizes(name, "queries", query)
    if key.dim() != 4 or (key.shape[0], key.shape[2]) != (1, seen.keys) or key.dtype != query.dtype:
        raise _other_sizes(name, "keys", key)
    source = ScoreSource(
        query=query,
        key=key,
        scaling=fields.number("scaling"),
        visibility=seen,
        softcap=fields.number("softcap") if fields.any("softcap") is not None else None,
        bias=_bias(fields, name, parts),
        sinks=parts.take_if_there(f"{name}.sinks"),
    )
    check_source(source, name)
    _check_something_is_seen(seen, name)
    return QueryKeyWeights(source)


def _visibility(fields: Fields, name: str, parts: _Parts) -> Visibility:
    band: dict[str, Any] = {
        side: fields.whole(side, -_LARGEST_OFFSET, _LARGEST_OFFSET) if fields.any(side) is not None else None
        for side in ("lower", "upper")
    }
    segments = None
    if parts.has(f"{name}.query_segments"):
        segments = parts.take(f"{name}.query_segments"), parts.take(f"{name}.key_segments")
    return Visibility(
        fields.whole("queries", 1, _LARGEST_SIZE),
        fields.whole("keys", 1, _LARGEST_SIZE),
        **band,
        key_seen=parts.take_if_there(f"{name}.key_seen"),
        segments=segments,
        mask=parts.take_if_there(f"{name}.mask"),
    )


def _bias(fields: Fields, name: str, parts: _Parts) -> Bias | None:
    if fields.any("bias") is None:
        return None
    described = fields.nested("bias")
    if not described.entries:
        return DenseBias(parts.take(f"{name}.bias"))
    sizes = [described.whole(entry, 0, _LARGEST_SIZE) for entry in ("origin", "queries", "keys")]
    return RelativeBias(parts.take(f"{name}.diagonals"), *sizes)


def _check_something_is_seen(seen: Visibility, name: str) -> None:
    if not bool((seen.counts(torch.device("cpu")) > 0).any()):
        raise FileFormatError(f"No query of {name} sees any key, so it has no weights.")


def _other_sizes(name: str, part: str, tensor: Tensor) -> FileFormatError:
    kind = str(tensor.dtype).removeprefix("torch.")
    return FileFormatError(
        f"The {part} of {name} ({kind}, {tuple(tensor.shape)}) do not have the sizes that the file declares."
    )
