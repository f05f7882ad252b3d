"""Calls that are parts of one attention, put together: heads, slices of queries or texts that a module runs in a loop.

What makes calls parts is that none needs another's output: they are made while one module runs once, or by modules of
one list while the module around them runs once. How they belong together is read from their shapes, from how many heads
and texts there are, and from the values that they weigh, which slices of queries share. Calls of which that is not
known stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attention_analyzer.errors import TooLongError
from attention_analyzer.hooks.precomputed import head_counts
from attention_analyzer.weights.bias import Bias, DenseBias
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility, visibility_of

#: Cells of a mask that slices are put together in.
_MOST_CELLS = 1 << 31
_TEXT, _HEAD, _QUERY = 0, 1, 2


@dataclass(frozen=True)
class Origin:
    """When a call was made.

    Attributes:
        number: of the call in its forward.
        run: number of the run of the module that made it; ``around``: of the module that this one ran in.
        depends_on: number of the last call from whose output queries or keys were computed; -1 for none.
        values: ``[.., key, channel]``, what was weighed.
    """

    number: int
    run: int
    around: int
    depends_on: int
    values: Tensor


@dataclass(frozen=True)
class Part:
    """A call: queries and keys, or weights in the form in which they multiplied the values.

    Attributes:
        listed: path of the list of modules that the module is in, if it is in one.
    """

    module: nn.Module
    name: str
    origin: Origin
    listed: str | None
    source: ScoreSource | None = None
    weights: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """``(text, head, query, key)``; of weights their own shape."""
        if self.source is not None:
            return self.source.batch, self.source.heads, self.source.queries, self.source.keys
        assert self.weights is not None
        return tuple(self.weights.shape)


def go_together(parts: Sequence[Part], further: Part) -> bool:
    """Whether a further call is a part of what these are parts of."""
    first = parts[0]
    if (first.source is None) != (further.source is None) or len(first.shape) != len(further.shape):
        return False
    if further.origin.depends_on >= first.origin.number:
        return False
    if first.module is further.module:
        return first.origin.run == further.origin.run
    return (
        first.listed is not None
        and first.listed == further.listed
        and first.origin.around == further.origin.around
        and type(first.module) is type(further.module)
        and all(further.module is not part.module for part in parts)
    )


def joined(parts: Sequence[Part], batch: int | None) -> list[Part]:
    """The parts as one call, or as they are where it is not known how they belong together.

    Args:
        batch: texts in the forward, where that is known.
    """
    if len(parts) == 1:
        return list(parts)
    whole = _of_list(parts, batch) if parts[0].module is not parts[1].module else _of_module(parts, batch)
    return list(parts) if whole is None else [whole]


def _of_list(parts: Sequence[Part], batch: int | None) -> Part | None:
    """Modules of a list that are one head each."""
    shape = parts[0].shape
    if any(part.shape != shape for part in parts) or not _is_one_head(shape, batch):
        return None
    assert parts[0].listed is not None
    return replace(_along(_HEAD, parts), name=parts[0].listed)


def _of_module(parts: Sequence[Part], batch: int | None) -> Part | None:
    shapes = [part.shape for part in parts]
    *outer, queries, keys = shapes[0]
    declared = head_counts(parts[0].module)
    same_values = all(_same(parts[0].origin.values, part.origin.values) for part in parts[1:])
    if all((*shape[:-2], shape[-1]) == (*outer, keys) for shape in shapes):
        asked = [shape[-2] for shape in shapes]
        whole_heads = len(outer) < 2 or not declared or outer[1] in declared
        if same_values and whole_heads and (sum(asked) == keys or keys not in asked):
            return _along(_QUERY, parts)
    if any(shape[-2:] != (queries, keys) for shape in shapes):
        return None
    if len(outer) == 2:
        return _of_four_axes(parts, batch, declared, same_values)
    if len(outer) == 1:
        rows = sum(shape[0] for shape in shapes)
        if batch is not None and any(rows == batch * heads for heads in declared) and _is_one_array(parts):
            return replace(parts[0], weights=torch.cat([_weights(part) for part in parts]))
        if any(shape != shapes[0] for shape in shapes):
            return None
        if outer[0] in declared and batch == len(parts) > 1:
            return _along(_TEXT, parts)
    if _is_one_head(shapes[0], batch) and (len(parts) in declared or (not declared and not same_values)):
        return _along(_HEAD, parts)
    return None


def _of_four_axes(parts: Sequence[Part], batch: int | None, declared: set[int], same_values: bool) -> Part | None:
    texts, heads, queries, keys = parts[0].shape
    if any(part.shape[0] != texts for part in parts):
        return None
    if sum(part.shape[1] for part in parts) in declared and heads not in declared:
        return _along(_HEAD, parts)
    if not declared and all(part.shape[1] == 1 for part in parts) and (not same_values or queries == keys):
        return _along(_HEAD, parts)
    if texts == 1 and batch == len(parts) > 1 and (not declared or heads in declared):
        return _along(_TEXT, parts)
    return None


def _is_one_head(shape: tuple[int, ...], batch: int | None) -> bool:
    """Whether an array is one head's, of all texts."""
    if len(shape) == 4:
        return shape[1] == 1
    return shape[0] == (batch or 1) if len(shape) == 3 else (batch or 1) == 1


def _is_one_array(parts: Sequence[Part]) -> bool:
    """Whether the values of the parts follow each other in one array ``[text · head, key, channel]``."""
    before = parts[0].origin.values
    for part in parts[1:]:
        values = part.origin.values
        follows = before.storage_offset() + before.shape[0] * before.stride(0)
        if values.untyped_storage().data_ptr() != before.untyped_storage().data_ptr():
            return False
        if values.storage_offset() != follows:
            return False
        before = values
    return True


def _same(mine: Tensor, theirs: Tensor) -> bool:
    if mine.shape != theirs.shape:
        return False
    return (mine.data_ptr() == theirs.data_ptr() and mine.stride() == theirs.stride()) or torch.equal(mine, theirs)


def _along(axis: int, parts: Sequence[Part]) -> Part:
    first = parts[0]
    if first.source is not None:
        return replace(first, source=_sources_along(axis, [part.source for part in parts if part.source is not None]))
    arrays = [_weights(part) for part in parts]
    dims = arrays[0].dim()
    if axis == _QUERY:
        return replace(first, weights=torch.cat(arrays, -2))
    if dims == 4:
        return replace(first, weights=torch.cat(arrays, axis))
    if dims == 2:
        arrays = [array[None] for array in arrays]
    return replace(first, weights=torch.stack(arrays, axis if dims == 3 else 1))


def _weights(part: Part) -> Tensor:
    assert part.weights is not None
    return part.weights


def _sources_along(axis: int, sources: Sequence[ScoreSource]) -> ScoreSource:
    first = sources[0]
    key = first.key if axis == _QUERY else torch.cat([source.key for source in sources], axis)
    return replace(
        first,
        query=torch.cat([source.query for source in sources], axis),
        key=key,
        visibility=_seen_along(axis, sources),
        bias=_bias_along(axis, sources),
    )


def _seen_along(axis: int, sources: Sequence[ScoreSource]) -> Visibility:
    first = sources[0].visibility
    queries = sum(source.queries for source in sources) if axis == _QUERY else first.queries
    bands = set()
    start = 0
    for source in sources:
        seen, shift = source.visibility, start if axis == _QUERY else 0
        lower, upper = (None if edge is None else edge - shift for edge in (seen.lower, seen.upper))
        bands.add((lower, upper) if seen.is_band else None)
        start += source.queries
    if len(bands) == 1 and (band := bands.pop()) is not None:
        return Visibility(queries, first.keys, lower=band[0], upper=band[1])
    sizes = [sum(s.batch for s in sources) if axis == _TEXT else sources[0].batch, sources[0].heads]
    if sizes[0] * sizes[1] * queries * first.keys > _MOST_CELLS:
        raise TooLongError(
            f"The masks of {len(sources)} parts of one attention take too much memory; shorten the text."
        )
    cells = []
    for source in sources:
        seen = source.visibility
        every = slice(0, seen.queries), slice(0, seen.keys), slice(0, source.batch)
        tile = seen.seen(*every, source.device)
        tile = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=source.device) if tile is None else tile
        heads = source.heads if axis == _HEAD else tile.shape[1]
        cells.append(tile.expand(source.batch, heads, seen.queries, seen.keys))
    if axis != _HEAD and len({tile.shape[1] for tile in cells}) > 1:
        cells = [tile.expand(-1, sources[0].heads, -1, -1) for tile in cells]
    return visibility_of(torch.cat(cells, axis), queries, first.keys)


def _bias_along(axis: int, sources: Sequence[ScoreSource]) -> Bias | None:
    if all(source.bias is None for source in sources):
        return None
    planes = []
    for source in sources:
        shape = source.batch, source.heads, source.queries, source.keys
        dense = source.query.new_zeros(1, 1, 1, 1) if source.bias is None else source.bias.dense()
        planes.append(dense.expand(shape))
    return DenseBias(torch.cat(planes, axis))
