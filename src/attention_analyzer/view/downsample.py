"""A small picture of every head, made once when the payload is written.

Axes are cut into bins; a cell is the weight that a query of its row bin puts on all keys of its column bin, averaged
over the queries. Rows still sum to one, a diagonal stays a diagonal and a sink stays a stripe, however long the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from attention_analyzer.weights.base import AttentionWeights

#: Bins on the longer sides of a picture, and the queries of each bin that are read: cost stays linear in the text.
BINS = 40
QUERIES_PER_BIN = 16
#: Most queries that are read together.
MOST_ROWS = 128


@dataclass(frozen=True)
class Coarse:
    """The pictures of one site.

    Attributes:
        pictures: float32 ``[head, query bin, key bin]``.
        received: float32 ``[head, key]``, mean weight on each key from the queries read that can see it.
        seen_share: float32 ``[key]``, the share of those queries that can see the key.
        sampled: whether some queries were left out.
    """

    pictures: np.ndarray
    received: np.ndarray
    seen_share: np.ndarray
    sampled: bool


def bin_edges(size: int, bins: int) -> np.ndarray:
    """``bins + 1`` rising edges over ``size`` positions; bins differ by one position at most."""
    return np.linspace(0, size, bins + 1).round().astype(int)


def coarse(weights: AttentionWeights) -> Coarse:
    """Pictures of all heads of a site, from at most ``BINS * QUERIES_PER_BIN`` queries."""
    heads, queries, keys = weights.shape
    query_edges = bin_edges(queries, min(BINS, queries))
    key_edges = bin_edges(keys, min(BINS, keys))
    bin_of_key = _membership(np.repeat(np.arange(len(key_edges) - 1), np.diff(key_edges)), len(key_edges) - 1)
    pictures = torch.zeros(heads, len(query_edges) - 1, len(key_edges) - 1)
    received = torch.zeros(heads, keys)
    seen = torch.zeros(keys)
    read = 0
    for rows, numbers in _runs(query_edges):
        tile = weights.tile(0, slice(0, heads), rows).float().cpu()
        bin_of_query = _membership(numbers, len(query_edges) - 1)
        sums = bin_of_query.T @ tile
        pictures += sums @ bin_of_key / bin_of_query.sum(0).clamp(min=1)[:, None]
        received += sums.sum(1)
        cells = weights.visibility.seen(rows, slice(0, keys), slice(0, 1), torch.device("cpu"))
        seen += len(numbers) if cells is None else cells[0].any(0).expand(len(numbers), -1).sum(0)
        read += len(numbers)
    return Coarse(
        pictures.numpy(),
        (received / seen.clamp(min=1)).numpy(),
        (seen / read).numpy(),
        sampled=read < queries,
    )


def _runs(edges: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Runs of queries that are read together, and the bin of each query; of a large bin only its middle is read."""
    first, numbers = 0, np.zeros(0, int)
    for number, (start, stop) in enumerate(pairwise(edges.tolist())):
        count = min(QUERIES_PER_BIN, stop - start)
        begin = start + (stop - start - count) // 2
        if len(numbers) and (begin != first + len(numbers) or len(numbers) + count > MOST_ROWS):
            yield slice(first, first + len(numbers)), numbers
            numbers = np.zeros(0, int)
        first = first if len(numbers) else begin
        numbers = np.append(numbers, np.full(count, number))
    yield slice(first, first + len(numbers)), numbers


def _membership(numbers: np.ndarray, bins: int) -> torch.Tensor:
    """float32 ``[position, bin]``: one where the position is in the bin, so that sums over bins are a product."""
    return torch.nn.functional.one_hot(torch.from_numpy(numbers), bins).float()
