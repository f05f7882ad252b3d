"""What attention between parts would be by chance: raw sums mostly show how large and how near a part is.

*By size*: each query spreads its weight evenly over the keys that it sees. *By distance*: it spreads it as the head
does on average at each distance, whatever stands there. Both are exact means over the query tokens of a part, from
running sums at the borders of parts where visibility is a band, and cell by cell otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from attention_analyzer.weights.visibility import Visibility

#: Distances up to here have a bin each; above, a bin is a sixth wider than the one before it.
_SINGLE, _GROWTH = 16, 1.17
_CELLS = 1 << 22


@dataclass(frozen=True)
class Geometry:
    """Which cells there are between the parts of two axes.

    Attributes:
        seen: the visible cells.
        diagonal: query ``i`` is key ``i + diagonal``; None between different texts.
        query_borders, key_borders: of the parts, in tokens, ``[part + 1]``.
        left_out: bool ``[key]``, keys that do not count.
    """

    seen: Visibility
    diagonal: int | None
    query_borders: tuple[int, ...]
    key_borders: tuple[int, ...]
    left_out: Tensor

    @cached_property
    def by_size(self) -> Tensor:
        """``[head or 1, query part, key part]``: mean share of the visible keys of a query; NaN if none sees any."""
        borders = torch.tensor(self.key_borders)
        owner = _owners(self.query_borders)
        parts = (len(self.query_borders) - 1, len(self.key_borders) - 1)
        total: Tensor | None = None
        seeing: Tensor | None = None
        for rows, counts in self._counts_by_row(borders):
            visible = counts.sum(-1, keepdim=True)
            share = torch.where(visible > 0, counts / visible.clamp(min=1), 0)
            if total is None or seeing is None:
                total = torch.zeros(counts.shape[0], *parts, dtype=torch.float64)
                seeing = torch.zeros(counts.shape[0], parts[0], 1, dtype=torch.float64)
            total.index_add_(1, owner[rows], share)
            seeing.index_add_(1, owner[rows], (visible > 0).double())
        assert total is not None and seeing is not None
        return total / seeing

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """Edges of the bins of distances ``query - key`` that any visible cell has."""
        assert self.diagonal is not None
        low, high = self.diagonal - self.seen.keys + 1, self.diagonal + self.seen.queries - 1
        if self.seen.upper is not None:
            low = max(low, self.diagonal - self.seen.upper)
        if self.seen.lower is not None:
            high = min(high, self.diagonal - self.seen.lower)
        high = max(low, high)
        positive = _grown(max(high, 0))
        negative = _grown(max(-low, 0))
        inside = sorted({*(-edge for edge in negative), *positive})
        return (low, *(edge for edge in inside if low < edge <= high), high + 1)

    @cached_property
    def cells(self) -> Tensor:
        """How many visible cells each bin of distances has, ``[bin]``; of the first head, if heads differ."""
        edges = torch.tensor(self.edges)
        if not self.seen.is_band:
            return self._counted_cells(edges)
        assert self.diagonal is not None
        kept = torch.nn.functional.pad((~self.left_out).double().cumsum(0), (1, 0))
        total = torch.zeros(len(edges) - 1, dtype=torch.float64)
        own = torch.arange(self.seen.queries) + self.diagonal
        for number, (low, high) in enumerate(pairwise(self.edges)):
            # Distances low … high - 1 are the keys own - high + 1 … own - low.
            stop, start = (own - low + 1).clamp(0, self.seen.keys), (own - high + 1).clamp(0, self.seen.keys)
            total[number] = (kept[stop] - kept[start]).sum()
        return total

    def by_distance(self, sums: Tensor) -> Tensor:
        """``[head, query part, key part]``: the share that a part has of each head's mean weight by distance.

        Each query's shares sum to one over the keys that it sees.

        Args:
            sums: each head's weight in each bin, ``[head, bin]``, over all queries.
        """
        assert self.diagonal is not None
        each = torch.where(self.cells > 0, sums / self.cells.clamp(min=1), 0)  # weight of one cell
        total = torch.zeros(len(sums), len(self.query_borders) - 1, len(self.key_borders) - 1, dtype=torch.float64)
        owner = _owners(self.query_borders)
        rows_of = self._band_shares if self.seen.is_band else self._tile_shares
        for rows, shares in rows_of(each):
            whole = shares.sum(-1, keepdim=True)
            total.index_add_(1, owner[rows], torch.where(whole > 0, shares / whole.clamp(min=1e-300), 0))
        return total / torch.tensor(self.query_borders).diff().double()[:, None]

    def _band_shares(self, each: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Runs of queries with the expected weights on parts, ``[head, row, part]``, not yet normalized."""
        assert self.diagonal is not None
        edges = torch.tensor(self.edges)
        by_distance = each.repeat_interleave(edges.diff(), dim=-1)
        running = torch.nn.functional.pad(by_distance.cumsum(-1), (1, 0))  # over distances from edges[0] on
        borders, left_out = torch.tensor(self.key_borders), self.left_out.nonzero()[:, 0]
        of_left_out = _owners(self.key_borders)[left_out]
        kept = torch.nn.functional.pad((~self.left_out).long().cumsum(0), (1, 0))
        last = running.shape[-1] - 1
        step = max(1, _CELLS // (len(each) * (len(borders) + len(left_out))))
        for start in range(0, self.seen.queries, step):
            rows = slice(start, min(start + step, self.seen.queries))
            own = torch.arange(rows.start, rows.stop)[:, None] + self.diagonal
            # Keys before a border are farther away than own - border.
            shares = -running[:, (own - borders + 1 - edges[0]).clamp(0, last)].diff(dim=-1)
            if len(left_out):
                apart = own - left_out - edges[0]
                seen = (apart >= 0) & (apart < last)
                weight = by_distance[:, apart.clamp(0, last - 1)] * seen
                shares = shares.index_add(-1, of_left_out, -weight).clamp(min=0)
                stop, first = ((own - edge + 1).clamp(0, self.seen.keys) for edge in (edges[0], edges[-1]))
                shares = shares * (kept[stop] > kept[first])  # what rounding left of rows without any key
            yield rows, shares

    def _tile_shares(self, each: Tensor) -> Iterator[tuple[slice, Tensor]]:
        assert self.diagonal is not None
        edges, borders = torch.tensor(self.edges), torch.tensor(self.key_borders)
        for rows, tile in self._tiles():
            apart = torch.arange(rows.start, rows.stop)[:, None] + self.diagonal - torch.arange(self.seen.keys)
            bins = (torch.searchsorted(edges, apart, right=True) - 1).clamp(0, each.shape[-1] - 1)
            weight = each[:, bins] * (tile & ~self.left_out)
            yield rows, torch.nn.functional.pad(weight.cumsum(-1), (1, 0))[..., borders].diff(dim=-1)

    def _counts_by_row(self, borders: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Runs of queries with the visible keys of each part, ``[head or 1, row, part]``."""
        seen, counts = self.seen, ~self.left_out
        step = max(1, _CELLS // max(len(borders), 1))
        if seen.is_band:
            before = torch.nn.functional.pad(counts.long().cumsum(0), (1, 0))
            for start in range(0, seen.queries, step):
                rows = slice(start, min(start + step, seen.queries))
                at = torch.arange(rows.start, rows.stop)[:, None]
                first = torch.zeros_like(at) if seen.lower is None else (at + seen.lower).clamp(0, seen.keys)
                last = (
                    torch.full_like(at, seen.keys) if seen.upper is None else (at + seen.upper + 1).clamp(0, seen.keys)
                )
                reached = before[torch.minimum(torch.maximum(borders, first), torch.maximum(first, last))]
                yield rows, reached.diff(dim=-1)[None].double()
            return
        for rows, tile in self._tiles():
            running = torch.nn.functional.pad((tile & counts).double().cumsum(-1), (1, 0))
            yield rows, running[..., borders].diff(dim=-1)

    def _tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Runs of queries with what they see, bool ``[head or 1, row, key]``."""
        step = max(1, _CELLS // self.seen.keys)
        device = torch.device("cpu")
        for start in range(0, self.seen.queries, step):
            rows = slice(start, min(start + step, self.seen.queries))
            tile = self.seen.seen(rows, slice(0, self.seen.keys), slice(0, 1), device)
            shape = (rows.stop - rows.start, self.seen.keys)
            yield rows, torch.ones(1, *shape, dtype=torch.bool) if tile is None else tile[0].expand(-1, *shape)

    def _counted_cells(self, edges: Tensor) -> Tensor:
        assert self.diagonal is not None
        result = torch.zeros(len(edges) - 1, dtype=torch.float64)
        for rows, tile in self._tiles():
            at, key = (tile[0] & ~self.left_out).nonzero(as_tuple=True)
            bins = torch.searchsorted(edges, at + rows.start + self.diagonal - key, right=True) - 1
            result += torch.bincount(bins, minlength=len(result)).double()
        return result


def _owners(borders: tuple[int, ...]) -> Tensor:
    """The part of each token."""
    return torch.repeat_interleave(torch.arange(len(borders) - 1), torch.tensor(borders).diff())


def _grown(most: int) -> list[int]:
    edges = list(range(min(_SINGLE, most) + 1))
    while edges[-1] < most:
        edges.append(max(edges[-1] + 1, int(edges[-1] * _GROWTH)))
    return edges
