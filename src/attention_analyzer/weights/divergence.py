"""How far apart heads look: the Jensen–Shannon divergence of their rows, streamed, so that no matrix is ever whole.

``JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2`` in nats, between 0 and ``log 2`` (Lin 1991). Rows need not sum to one:
what is left (a sink's share, keys that have no counterpart) is one more cell, so that every row is a distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.weights.base import AttentionWeights

#: The largest divergence there is.
LARGEST = log(2)
#: Cells of all pairs of heads that are held at once.
_CELLS = 1 << 22

#: Token positions that stand for one unit.
Unit = Sequence[int]


@dataclass(frozen=True)
class Rows:
    """Heads as distributions, row by row.

    Attributes:
        heads, rows, cells: sizes; the last cell is the rest.
        read: finished rows ``[head, row, cell]`` for a run of rows.
    """

    heads: int
    rows: int
    cells: int
    read: Callable[[slice], Tensor]


def rows_of(
    weights: AttentionWeights, queries: Sequence[Unit] | None = None, keys: Sequence[Unit] | None = None
) -> Rows:
    """The rows of a site's weights (of one text).

    Args:
        queries, keys: units of tokens; a unit's row is the mean over its queries, its cell the sum over its keys
            (Clark et al. 2019, §4.1). Without them every token is its own unit. Keys in no unit go to the rest.
    """
    if queries is None and keys is None:

        def read(run: slice) -> Tensor:
            return _with_rest(weights.tile(0, slice(0, weights.heads), run).float())

        return Rows(weights.heads, weights.queries, weights.keys + 1, read)
    of_queries = [(index,) for index in range(weights.queries)] if queries is None else queries
    of_keys = [(index,) for index in range(weights.keys)] if keys is None else keys
    gather = torch.zeros(weights.keys, len(of_keys))
    for number, unit in enumerate(of_keys):
        gather[list(unit), number] = 1

    def read_units(run: slice) -> Tensor:
        units = of_queries[run]
        first = min((min(unit) for unit in units), default=0)
        last = max((max(unit) for unit in units), default=-1) + 1
        tile = weights.tile(0, slice(0, weights.heads), slice(first, last)).float()
        mean = tile.new_zeros(len(units), last - first)
        for number, unit in enumerate(units):
            mean[number, [index - first for index in unit]] = 1 / len(unit)
        return _with_rest(mean @ (tile @ gather.to(tile.device)))

    return Rows(weights.heads, len(of_queries), len(of_keys) + 1, read_units)


def divergence_by_row(first: Rows, second: Rows, heads: Sequence[tuple[int, int]] | None = None) -> Tensor:
    """``[pair, row]`` in nats: each pair of heads, row by row.

    Args:
        heads: pairs ``(head of the first, head of the second)``; by default each head with the one of its number.

    Raises:
        InputError: the two have other rows or cells than one another.
    """
    _check(first, second)
    pairs = [(head, head) for head in range(min(first.heads, second.heads))] if heads is None else list(heads)
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    parts = []
    for run in _runs(first.rows, (first.heads + second.heads) * first.cells):
        a, b = first.read(run).cpu()[left], second.read(run).cpu()[right]
        parts.append((_entropy((a + b) / 2) - (_entropy(a) + _entropy(b)) / 2).clamp(0, LARGEST))
    return torch.cat(parts, dim=1)


def divergence_of_all(first: Rows, second: Rows) -> Tensor:
    """``[head of the first, head of the second]`` in nats: mean over the rows.

    Raises:
        InputError: the two have other rows or cells than one another, or none.
    """
    _check(first, second)
    if not first.rows:
        raise InputError("There are no rows to compare; at least one token must have a counterpart.")
    total = torch.zeros(first.heads, second.heads, dtype=torch.float64)
    for run in _runs(first.rows, (first.heads + second.heads) * first.cells):
        a, b = first.read(run).cpu(), second.read(run).cpu()
        own_a, own_b = _entropy(a).double().sum(1), _entropy(b).double().sum(1)
        step = max(1, _CELLS // max(b.numel(), 1))
        for start in range(0, first.heads, step):
            part = a[start : start + step]
            mixed = _entropy((part[:, None] + b[None]) / 2).double().sum(2)
            total[start : start + step] += mixed - (own_a[start : start + step, None] + own_b[None]) / 2
    return (total / first.rows).clamp(0, LARGEST)


def _with_rest(tile: Tensor) -> Tensor:
    return torch.cat([tile, (1 - tile.sum(-1, keepdim=True)).clamp(min=0)], dim=-1)


def _entropy(rows: Tensor) -> Tensor:
    return torch.special.entr(rows).sum(-1)


def _runs(rows: int, cells_a_row: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(cells_a_row, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _check(first: Rows, second: Rows) -> None:
    if (first.rows, first.cells) != (second.rows, second.cells):
        raise InputError(
            f"Heads can be compared over the same rows and keys only, but one has {first.rows} rows of {first.cells} "
            f"cells and the other {second.rows} of {second.cells}; align their tokens first."
        )
