"""Cached decoding steps put together: the attention of a whole sequence from the forward of its prompt and its steps.

A step has the queries of the new tokens and the keys of all, which a cache keeps. So queries are collected, and of each
step's keys the new ones. Which sequence a step goes on with is read from the keys themselves: they begin with those
that are known, in the order that a beam search may have given them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from attention_analyzer.assembly import Axes, Axis
from attention_analyzer.errors import TooLongError
from attention_analyzer.given_inputs import EARLIER, LEARNED, SOURCE, TARGET, main_ids, valid_tokens
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.bias import Bias, DenseBias, as_bias
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.memory import storages
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility, visibility_of

#: Cells of a mask that are put together for a sequence whose visibility is no band.
_CELLS = 1 << 28
_ONE = torch.zeros(1)
_TOO_LARGE = DenseBias(torch.zeros(0))
Sites = Sequence[tuple[Site, AttentionWeights]]


@dataclass
class Room:
    """Bytes that masks and biases may take where sequences are put together; asked before they are made."""

    left: int

    def take(self, count: int) -> None:
        """Raises TooLongError if there is less room than this."""
        if count > self.left:
            raise TooLongError(
                f"Masks and biases of sequences that were decoded take {count:,} bytes put together, but max_bytes "
                f"leaves {max(self.left, 0):,} for them; pass metrics=[…] or fewer layers=[…], or a larger bound."
            )
        self.left -= count


@dataclass
class _Growing:
    """One attention layer of a sequence that grows; ``earlier`` is how many keys were there before its first row."""

    first: ScoreSource
    queries: list[Tensor]
    keys: list[Tensor]
    seen: list[Visibility]
    biases: list[Bias | None]
    offsets: list[int]
    sinks: list[Tensor] = field(default_factory=list)
    earlier: int = 0

    @property
    def rows(self) -> int:
        return sum(part.shape[2] for part in self.queries)

    def cut(self, rows: int, *, self_attention: bool) -> None:
        """Keep the first rows, and of self-attention the first keys."""
        while self.rows - self.queries[-1].shape[2] >= rows:
            for parts in (self.queries, self.seen, self.biases, self.offsets, self.sinks):
                del parts[-1:]
        last = self.queries[-1].shape[2] - (self.rows - rows)
        self.queries[-1] = self.queries[-1][:, :, :last]
        seen, bias = self.seen[-1], self.biases[-1]
        self.seen[-1] = replace(
            seen,
            queries=last,
            segments=None if seen.segments is None else (seen.segments[0][:, :last], seen.segments[1]),
            mask=None if seen.mask is None or seen.mask.shape[2] == 1 else seen.mask[:, :, :last],
        )
        if bias is not None:
            self.biases[-1] = DenseBias(bias.dense()[:, :, :last])
        if self.sinks:
            self.sinks[-1] = self.sinks[-1][:, :, :last]
        if self_attention:
            self.keys[:] = [torch.cat(self.keys, 2)[:, :, : rows + self.earlier]]


@dataclass
class Sequences:
    """The sequences of a batch that is decoded with a cache.

    Attributes:
        ids: ``[row, token]`` so far, or None where none were given.
        valid: bool ``[row, token]`` of the first forward, False for padding; None if nothing was.
        earlier: what a cache held before the first forward, as of :class:`.assembly.Axis`; so is ``earlier_valid``.
        inputs: of the last forward; an attention mask ``[row, token]`` in it covers all tokens.
        deviation: the largest of all forwards.
        taken_back: tokens that were read, and forgotten because a later step went on from before them.
    """

    layers: dict[Site, _Growing]
    ids: Tensor | None
    valid: Tensor | None
    inputs: dict[str, Any]
    side: str
    deviation: float
    exact: bool
    earlier: Tensor | None = None
    earlier_valid: Tensor | None = None
    steps: int = 1
    taken_back: int = 0

    @property
    def nbytes(self) -> int:
        """Memory of queries, keys, masks and biases so far; what layers share counts once."""
        held: list[Tensor] = []
        for layer in self.layers.values():
            held += [*layer.queries, *layer.keys]
            held += [seen.mask for seen in layer.seen if seen.mask is not None]
            held += [bias.values for bias in layer.biases if isinstance(bias, DenseBias)]
        return sum(dict(storages(held)).values())

    @classmethod
    def begin(
        cls, sites: Sites, inputs: Mapping[str, Any], deviation: float, exact: bool, *, virtual: int = 0
    ) -> Sequences | None:
        """The sequences that a forward may begin; None for a forward that no cached step can follow.

        Args:
            virtual: how many learned tokens the model puts before each text: before its queries, or into its cache.
        """
        layers = {}
        for site, weights in sites:
            if not isinstance(weights, QueryKeyWeights):
                return None
            source = weights.source
            parts = [source.query], [source.key], [source.visibility], [source.bias], [0]
            earlier = source.keys - source.queries if site.kind == "self" else 0
            layers[site] = _Growing(source, *parts, _per_query(source), earlier)
        main = [layer for site, layer in layers.items() if site.kind == "self"]
        before = {layer.earlier for layer in main}
        if len(before) != 1 or len({layer.rows for layer in main}) != 1:
            return None
        (count,) = before
        if count < 0 or (count > 0 and count != virtual and inputs.get("past_key_values") is None):
            return None
        names, side = (TARGET, "target") if Axes.of(inputs).target is not None else (SOURCE, "source")
        ids, valid, rows = main_ids(inputs, names), valid_tokens(inputs, side), main[0].rows
        earlier_valid = None
        if valid is not None and count and valid.shape[1] == rows + count:
            earlier_valid, valid = valid[:, :count], valid[:, count:]
        if virtual and not count and ids is not None and ids.shape[1] + virtual == rows:
            ids = pad(ids, (virtual, 0), value=LEARNED)
            if valid is not None and valid.shape[1] + virtual == rows:
                valid = pad(valid, (virtual, 0), value=True)
        valid = None if valid is None or valid.shape[1] < rows else valid[:, :rows]
        held = None
        if count:
            number = LEARNED if count == virtual else EARLIER
            held = torch.full((max(layer.first.batch for layer in main), count), number)
        return cls(layers, ids, valid, dict(inputs), side, deviation, exact, held, earlier_valid)

    def grow(self, sites: Sites, inputs: Mapping[str, Any], deviation: float) -> bool:
        """Take in a step, if it goes on with these sequences."""
        step = {site: weights.source for site, weights in sites if isinstance(weights, QueryKeyWeights)}
        known = {(site.stack, site.kind, site.layer): site for site in self.layers}
        named = {known.get((site.stack, site.kind, site.layer), site): source for site, source in step.items()}
        if named.keys() != self.layers.keys() or len(named) != len(sites):
            return False
        own = [site for site in self.layers if site.kind == "self"]
        self._step_back(own, named)
        offsets = {site: _offset(named[site], self.layers[site].rows + self.layers[site].earlier) for site in own}
        if any(offset is None for offset in offsets.values()):
            return False
        whole = min(own, key=lambda site: offsets[site] or 0)
        order = _order(self.layers[whole].keys, named[whole].key, offsets[whole] or 0)
        if order is None:
            return False
        self._reorder(order)
        for site, source in named.items():
            layer = self.layers[site]
            layer.queries.append(source.query.clone())
            layer.seen.append(source.visibility)
            layer.biases.append(source.bias)
            layer.offsets.append(offsets.get(site) or 0)
            layer.sinks += _per_query(source)
            if site.kind == "self":
                old = layer.rows + layer.earlier - source.queries - layer.offsets[-1]
                # A copy: the whole of a step's keys is let go.
                layer.keys.append(source.key[:, :, old : old + source.queries].clone())
        names = TARGET if self.side == "target" else SOURCE
        new = main_ids(inputs, names)
        if self.ids is not None:
            self.ids = None if new is None else _lengthened(self.ids, order, new[:, -named[own[0]].queries :])
        self.inputs, self.deviation, self.steps = dict(inputs), max(self.deviation, deviation), self.steps + 1
        return True

    def _step_back(self, own: Sequence[Site], step: Mapping[Site, ScoreSource]) -> None:
        """Forget the last tokens if a step goes on from before them: a guess that was not taken over."""
        # The layer that remembers most, and of those the deepest: keys there know most of what came before.
        site = max(own, key=lambda each: (step[each].keys - step[each].queries, each.layer))
        past, earlier = step[site].keys - step[site].queries, self.layers[site].earlier
        rows = self.layers[site].rows
        if past <= 0:
            return
        known, begin = torch.cat(self.layers[site].keys, 2), step[site].key[:, :, :past]
        if known.shape[:2] != begin.shape[:2] or known.shape[3] != begin.shape[3]:
            return
        ends = (known == begin[:, :, -1:]).flatten(3).all(-1).all(1).all(0).nonzero()[:, 0] + 1
        found = [end for end in reversed(ends.tolist()) if end >= past]
        # All that is remembered comes first, then what a sliding window has left.
        kept = next((end for end in sorted(found, key=lambda end: end != past)
                     if torch.equal(known[:, :, end - past : end], begin)), rows + earlier)  # fmt: skip
        kept -= earlier
        if not 0 < kept < rows:
            return
        for each, layer in self.layers.items():
            layer.cut(kept, self_attention=each.kind == "self")
        self.ids = None if self.ids is None else self.ids[:, :kept]
        self.valid = None if self.valid is None else self.valid[:, :kept]
        self.taken_back += rows - kept

    def _reorder(self, order: Tensor) -> None:
        if torch.equal(order, torch.arange(len(order))) and len(order) == next(iter(self.layers.values())).first.batch:
            return
        self.valid, self.earlier, self.earlier_valid = (
            None if each is None else each[order.to(each.device)]
            for each in (self.valid, self.earlier, self.earlier_valid)
        )
        for layer in self.layers.values():
            for parts in (layer.queries, layer.keys, layer.sinks):
                parts[:] = [part.index_select(0, order.to(part.device)) for part in parts]
            layer.seen[:] = [seen.of_rows(order) for seen in layer.seen]
            layer.biases[:] = [None if bias is None else bias.of_rows(order) for bias in layer.biases]
            layer.first = replace(layer.first, query=layer.queries[0], key=layer.keys[0])

    def sites(self, room: Room) -> list[tuple[Site, AttentionWeights]] | None:
        """The whole attention of each layer; None if its visibility is too large to be put together.

        Raises:
            TooLongError: there is not room enough for masks and biases.
        """
        result: list[tuple[Site, AttentionWeights]] = []
        known: dict[tuple[Any, ...], Visibility | None] = {}
        known_biases: dict[tuple[Any, ...], Bias | None] = {}
        for site, layer in self.layers.items():
            query, key = torch.cat(layer.queries, 2), torch.cat(layer.keys, 2)
            name = (site.kind, *layer.offsets, *map(id, layer.seen))
            if name not in known:
                is_self = site.kind == "self"
                known[name] = _joined(layer.seen, layer.offsets, key.shape[2], room, self_attention=is_self)
            of_bias = (*layer.offsets, *map(id, layer.biases), query.shape[2], key.shape[2])
            if of_bias not in known_biases:  # layers may share one (T5)
                known_biases[of_bias] = _joined_bias(layer, query.shape[2], key.shape[2], room)
            seen, bias = known[name], known_biases[of_bias]
            if seen is None or bias is _TOO_LARGE:
                return None
            sinks = torch.cat(layer.sinks, 2) if layer.sinks else layer.first.sinks
            source = replace(layer.first, query=query, key=key, visibility=seen, bias=bias, sinks=sinks)
            result.append((site, QueryKeyWeights(source)))
        return result

    def axes(self, source: Axis | None) -> Axes:
        """The token axes of the whole; ``source`` is that of an encoder that ran before."""
        length = max(layer.rows for site, layer in self.layers.items() if site.kind == "self")
        last = Axes.of(self.inputs)
        mask = self.inputs.get("decoder_attention_mask" if self.side == "target" else "attention_mask")
        count = 0 if self.earlier is None else self.earlier.shape[1]
        if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] == length + count:
            mask = mask[:, count:]
        if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] == length:
            valid = None if bool(mask.bool().all()) else mask.bool()
        else:
            valid = self.valid
            if valid is not None:  # what came later is text
                valid = torch.cat([valid, valid.new_ones(len(valid), length - valid.shape[1])], 1)
        ids = self.ids if self.ids is not None and self.ids.shape[1] == length else None
        axis = Axis(length, ids, valid, self.earlier, self.earlier_valid)
        if self.side == "target":
            return Axes(source or last.source, axis)
        return Axes(axis, packed=self.steps == 1 and last.packed)


def _lengthened(ids: Tensor, order: Tensor, new: Tensor) -> Tensor:
    return torch.cat([ids.to(new.device)[order.to(new.device)], new], 1)


def _per_query(source: ScoreSource) -> list[Tensor]:
    return [source.sinks] if source.sinks is not None and source.sinks.dim() == 3 else []


def without_unused_keys(sites: Sites) -> list[tuple[Site, AttentionWeights]]:
    """Self-attention without the keys after the last token, which a cache of fixed size has not written yet.

    Such a cache writes into the same memory at each step, so its keys are copied.
    """
    result: list[tuple[Site, AttentionWeights]] = []
    for site, weights in sites:
        if site.kind == "self" and isinstance(weights, QueryKeyWeights):
            end = _last_seen(weights.source)
            if weights.queries <= end < weights.keys:
                weights = QueryKeyWeights(_first_keys(weights.source, end))
        result.append((site, weights))
    return result


def _last_seen(source: ScoreSource) -> int:
    """One more than the last key that the last query of any text sees."""
    seen = source.visibility
    if seen.is_everything:
        return seen.keys
    last = seen.seen(slice(seen.queries - 1, seen.queries), slice(0, seen.keys), slice(None), torch.device("cpu"))
    visible = torch.ones(0) if last is None else last.any(0).any(0)[0].nonzero()
    return seen.keys if last is None else int(visible[-1]) + 1 if len(visible) else 0


def _first_keys(source: ScoreSource, end: int) -> ScoreSource:
    seen, bias = source.visibility, source.bias
    if isinstance(bias, DenseBias):
        bias = DenseBias(bias.values[..., :end])
    elif bias is not None:
        bias = replace(bias, keys=end)
    visibility = replace(
        seen,
        keys=end,
        key_seen=None if seen.key_seen is None else seen.key_seen[:, :end],
        segments=None if seen.segments is None else (seen.segments[0], seen.segments[1][:, :end]),
        mask=None if seen.mask is None else seen.mask[..., :end],
    )
    return replace(source, key=source.key[:, :, :end].clone(), visibility=visibility, bias=bias)


def _offset(source: ScoreSource, known: int) -> int | None:
    """How many of the known tokens a step's keys have let go from the front (a sliding window); None for no step."""
    old = source.keys - source.queries
    return None if old <= 0 or old > known else known - old


def _order(known: Sequence[Tensor], key: Tensor, offset: int) -> Tensor | None:
    """For each row of a step, the row of the known keys (from ``offset`` on) that it begins with; None without one."""
    past = torch.cat(list(known), 2)[:, :, offset:]
    size = past.shape[2]
    if size > key.shape[2]:
        return None
    begin = key[:, :, :size]
    if past.shape == begin.shape and torch.equal(past, begin):
        return torch.arange(len(key))
    order = []
    for row in range(len(key)):
        candidates = (old for old in (row, *range(len(past))) if old < len(past))
        found = next((old for old in candidates if torch.equal(past[old], begin[row])), None)
        if found is None:
            return None
        order.append(found)
    return torch.tensor(order)


def _joined(
    parts: Sequence[Visibility], offsets: Sequence[int], keys: int, room: Room, *, self_attention: bool
) -> Visibility | None:
    """One visibility for the rows of all parts, whose keys are those of the whole from their offset on."""
    queries = sum(part.queries for part in parts)
    if len(parts) == 1 and parts[0].keys == keys:
        return parts[0]
    if not self_attention and all(part.mask is None and part.segments is None for part in parts):
        return replace(parts[0], queries=queries)
    rows = max(len(each) for part in parts for each in (part.mask, part.key_seen, _ONE) if each is not None)
    heads = max(part.mask.shape[1] if part.mask is not None else 1 for part in parts)
    if rows * heads * queries * keys > _CELLS:
        return None if any(offsets) else _band(parts, queries, keys)
    room.take(rows * heads * queries * keys)
    cells = torch.zeros(rows, heads, queries, keys, dtype=torch.bool)
    start = 0
    for part, offset in zip(parts, offsets, strict=True):
        stop = start + part.queries
        width = min(part.keys, keys - offset)
        seen = part.seen(slice(0, part.queries), slice(0, width), slice(None), torch.device("cpu"))
        cells[:, :, start:stop, offset : offset + width] = True if seen is None else seen
        start = stop
    return visibility_of(cells, queries, keys)


def _joined_bias(layer: _Growing, queries: int, keys: int, room: Room) -> Bias | None:
    """One bias for the rows of all parts; :data:`_TOO_LARGE` if it would take too much memory."""
    if len(layer.biases) == 1 or all(bias is None for bias in layer.biases):
        return layer.biases[0]
    shapes = [bias.dense().shape[:2] for bias in layer.biases if bias is not None]
    rows, heads = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    if rows * heads * queries * keys > _CELLS:
        return _TOO_LARGE
    whole_bytes = rows * heads * queries * keys * _ONE.element_size()
    room.take(whole_bytes)
    whole = torch.zeros(rows, heads, queries, keys)
    start = 0
    for part, bias, offset in zip(layer.queries, layer.biases, layer.offsets, strict=True):
        stop = start + part.shape[2]
        if bias is not None:
            values = bias.dense()[..., : keys - offset]
            whole[:, :, start:stop, offset : offset + values.shape[-1]] = values.float().cpu()
        start = stop
    joined = as_bias(whole.to(layer.queries[0].device))
    if not isinstance(joined, DenseBias):
        room.left += whole_bytes  # what is kept is much smaller
    return joined


def _band(parts: Sequence[Visibility], queries: int, keys: int) -> Visibility | None:
    """Of a long text: causal, if the first part is and every later one sees all of its own keys."""
    first = parts[0]
    earlier = first.keys - first.queries
    bounded = any(part.lower is not None or part.mask is not None or part.segments is not None for part in parts)
    if first.upper != earlier or bounded:
        return None
    last = parts[-1].key_seen
    if last is not None and last.shape[1] != keys:
        return None
    return Visibility(queries, keys, upper=earlier, key_seen=last)
