"""Where heads send their weight: to the sink, along the syntax, nearby, or far.

The weight of every query (special tokens left out) is split without overlap, in this order:

``sink``      special tokens, and the first token of a text whose tokens see only what came before
``syntax``    tokens of words that govern the query's word or depend on it; only where the text is annotated
``local``     tokens at most two away, the query's own included
``distant``   all others

What is missing from one is an attention sink's share that no token gets. In cross-attention nothing is near: ``local``
is not defined (NaN), and all that is not sink is ``distant``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.captured import SiteRecord
from attention_analyzer.run.state import Array
from attention_analyzer.site import Site
from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.text.tokens import Tokens

SHARES = ("sink", "syntax", "local", "distant")
#: Tokens that are near.
WINDOW = 2
_CELLS = 1 << 22


@dataclass(frozen=True)
class Edges:
    """Which words of a text are joined by a dependency.

    Attributes:
        words: per token its word, or -1.
        joined: bool ``[word, word]``, governor and dependent in both directions.
    """

    words: Tensor
    joined: Tensor

    def cells(self, rows: slice) -> Tensor:
        """bool ``[row, key]``."""
        of_query, real = self.words[rows, None].clamp(min=0), (self.words[rows, None] >= 0) & (self.words >= 0)
        return self.joined[of_query, self.words.clamp(min=0)] & real


def edges_of(annotated: AnnotatedText, tokens: Tokens) -> Edges:
    """The dependencies of an annotated text, on its tokens."""
    owner = words_of_tokens(tokens, annotated.spans)
    joined = torch.zeros(len(annotated), len(annotated), dtype=torch.bool)
    for dependent, governor in enumerate(annotated.governors):
        if governor is not None:
            joined[dependent, governor] = joined[governor, dependent] = True
    return Edges(torch.tensor([-1 if word is None else word for word in owner]), joined)


def shares_of(entry: SiteRecord, edges: Edges | None = None) -> Tensor:
    """``[share, head]`` in the order of :data:`SHARES`: means over the queries that are no special tokens."""
    counted = _counted(entry.queries)
    total = torch.zeros(len(SHARES), entry.weights.heads, dtype=torch.float64)
    for rows, tile in _tiles(entry):
        tile = tile[:, counted[rows]]
        left = torch.ones(tile.shape[1:], dtype=torch.bool)
        for number, cells in enumerate(_split(entry, rows, edges)):
            mine = cells[counted[rows]] & left
            left &= ~mine
            total[number] += (tile * mine).sum((-1, -2)).double()
    if entry.diagonal is None:
        total[SHARES.index("local")] = torch.nan
    return total / max(int(counted.sum()), 1)


@dataclass
class OffsetRates:
    """What a head would put on syntax if it knew only distances: its weight at each offset, times how often tokens at
    that offset are joined in these texts. The position-matched control of ``syntax``.
    """

    _weights: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    _queries: dict[str, int] = field(default_factory=dict)
    _joined: dict[int, int] = field(default_factory=dict)
    _pairs: dict[int, int] = field(default_factory=dict)

    def add_text(self, tokens: Tokens, edges: Edges) -> None:
        """Count the pairs of tokens of one text, by offset."""
        counted = _counted(tokens)
        cells = edges.cells(slice(0, len(tokens)))
        pairs = counted[:, None] & counted
        for offset in range(1 - len(tokens), len(tokens)):
            count = int(pairs.diagonal(offset).sum())
            self._pairs[offset] = self._pairs.get(offset, 0) + count
            joined = int((cells & pairs).diagonal(offset).sum())
            self._joined[offset] = self._joined.get(offset, 0) + joined

    def add_site(self, entry: SiteRecord) -> None:
        """Add a site's weights of one text, by offset; sinks are left out."""
        counted = _counted(entry.queries)
        seen = _counted(entry.keys) & ~_sinks(entry)
        by_offset = self._weights.setdefault(entry.site.name, {})
        for rows, tile in _tiles(entry):
            tile = tile * (counted[rows, None] & seen)
            for offset in range(1 - rows.stop, len(entry.keys) - rows.start):
                weight = tile.diagonal(offset + rows.start, 1, 2).sum(-1).double()
                by_offset[offset] = by_offset[offset] + weight if offset in by_offset else weight
        self._queries[entry.site.name] = self._queries.get(entry.site.name, 0) + int(counted.sum())

    def sums(self) -> dict[str, Array]:
        """Everything counted, as arrays by offset that add up: offsets 0, -1, 1, -2, 2 … along the first axis."""
        counts = {"joined": self._joined, "pairs": self._pairs}
        found = {name: _by_offset(counted) for name, counted in counts.items()}
        for name, by_offset in self._weights.items():
            found[f"weights/{name}"] = _by_offset({offset: each.numpy() for offset, each in by_offset.items()})
            found[f"queries/{name}"] = np.array([self._queries[name]])
        return found

    @classmethod
    def from_sums(cls, sums: Mapping[str, Array]) -> OffsetRates:
        """The inverse of :meth:`sums`."""
        found = cls()
        for name, array in sums.items():
            what, _, site = name.partition("/")
            if what == "queries":
                found._queries[site] = int(array[0])
            elif what == "weights":
                found._weights[site] = {_offset(place): torch.from_numpy(row) for place, row in enumerate(array)}
            else:
                counts = {_offset(place): int(count) for place, count in enumerate(array)}
                setattr(found, f"_{what}", counts)
        return found

    def expected(self, site: Site) -> Tensor:
        """``[head]``: the share on syntax that distances alone explain."""
        parts = [
            weight * (self._joined[offset] / self._pairs[offset])
            for offset, weight in self._weights[site.name].items()
            if self._pairs.get(offset)
        ]
        return torch.stack(parts).sum(0) / max(self._queries[site.name], 1)


def _by_offset(values: Mapping[int, Any]) -> Array:
    first = np.asarray(next(iter(values.values())))
    found = np.zeros((2 * max(map(abs, values)) + 1, *first.shape), first.dtype)
    for offset, value in values.items():
        found[2 * abs(offset) - (offset < 0)] = value
    return found


def _offset(place: int) -> int:
    return -(place + 1) // 2 if place % 2 else place // 2


def _split(entry: SiteRecord, rows: slice, edges: Edges | None) -> Sequence[Tensor]:
    """bool ``[row, key]`` for each of :data:`SHARES`; they overlap, and the first counts."""
    height, keys = rows.stop - rows.start, len(entry.keys)
    nothing, all_of_it = torch.zeros(height, keys, dtype=torch.bool), torch.ones(height, keys, dtype=torch.bool)
    near = nothing
    if entry.diagonal is not None:
        offset = torch.arange(keys) - torch.arange(rows.start, rows.stop)[:, None] - entry.diagonal
        near = offset.abs() <= WINDOW
    return _sinks(entry).expand(height, keys), nothing if edges is None else edges.cells(rows), near, all_of_it


def _sinks(entry: SiteRecord) -> Tensor:
    """bool ``[key]``."""
    sinks = torch.tensor(entry.keys.is_special, dtype=torch.bool)
    if entry.site.kind == "self" and entry.site.tower == "decoder":
        sinks[0] = True
    return sinks


def _counted(tokens: Tokens) -> Tensor:
    plain = ~torch.tensor(tokens.is_special, dtype=torch.bool)
    return plain if bool(plain.any()) else ~plain


def _tiles(entry: SiteRecord) -> Iterator[tuple[slice, Tensor]]:
    heads, queries, keys = entry.weights.shape
    step = max(1, _CELLS // (heads * keys))
    runs = (slice(start, min(start + step, queries)) for start in range(0, queries, step))
    return ((rows, entry.weights[:, rows].float().cpu()) for rows in runs)
