"""A small picture of every head, made once when the payload is written.

Axes are cut into bins; a cell is the weight that a query of its row bin puts on all keys of its column bin, averaged
over the queries. Rows still sum to one, a diagonal stays a diagonal and a sink stays a stripe, however long the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from attention_analyzer.weights.base import AttentionWeights

#: Bins on the longer sides of a picture, and the queries of each bin that are read: cost stays linear in the text.
BINS = 40
QUERIES_PER_BIN = 16


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
    pictures = torch.zeros(heads, len(query_edges) - 1, len(key_edges) - 1)
    received = torch.zeros(heads, keys)
    seen = torch.zeros(keys)
    read = 0
    for index, (start, stop) in enumerate(pairwise(query_edges)):
        count = min(QUERIES_PER_BIN, stop - start)
        first = int(start + (stop - start - count) // 2)
        tile = weights[:, first : first + int(count)].float().cpu()
        sums = torch.nn.functional.pad(tile.mean(1).cumsum(-1), (1, 0))
        pictures[:, index] = sums[:, key_edges[1:]] - sums[:, key_edges[:-1]]
        received += tile.sum(1)
        seen += (tile > 0).any(0).sum(0)
        read += int(count)
    return Coarse(
        pictures.clamp(min=0).numpy(),
        (received / seen.clamp(min=1)).numpy(),
        (seen / read).numpy(),
        sampled=read < queries,
    )
