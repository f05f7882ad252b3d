"""Pairs of heads that together cover what each leaves.

For a query, let ``m`` be the mean row of all *other* heads (of the same stack, without the two): what there is to look
at. A head covers a key if it puts at least ``m`` on it; its coverage is the share of ``m`` on the keys it covers. Were
the keys that two heads cover unrelated, the two together would cover ``c₁ + c₂ - c₁ c₂``; that is the null. What they
cover beyond it is the *excess*, and a pair is complementary if its excess is credibly above zero over texts and the two
together cover clearly more than the better of them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.captured import SiteRecord

#: What a pair must cover beyond the better of its heads.
SMALLEST_GAIN = 0.2
#: The mean of the others needs others.
FEWEST_HEADS = 4
_CELLS = 1 << 22


@dataclass(frozen=True)
class Coverage:
    """Means over the rows of one text: ``alone [head, head]`` (of the first head of a pair, seen by the others),
    ``together`` and ``expected [head, head]`` (the null); pairs of a head with itself mean nothing.
    """

    alone: Tensor
    together: Tensor
    expected: Tensor


def coverage(entries: Sequence[SiteRecord]) -> Coverage:
    """Coverage of all pairs of heads of sites that share their queries and keys, streamed over rows."""
    heads = sum(entry.weights.heads for entry in entries)
    queries, keys = entries[0].weights.shape[1:]
    sums = torch.zeros(3, heads, heads, dtype=torch.float64)
    step = max(1, _CELLS // (heads * keys))
    for start in range(0, queries, step):
        rows = slice(start, min(start + step, queries))
        tile = torch.cat([entry.weights[:, rows].float().cpu() for entry in entries])
        total = tile.sum(0)
        for head in range(heads):
            # Pairs are symmetric but for whose coverage is "alone".
            left = (total - tile[head] - tile) / (heads - 2)
            mass = left.sum(-1).clamp(min=torch.finfo(left.dtype).tiny)
            first, second = tile[head] >= left, tile >= left
            one = (left * first).sum(-1) / mass
            other = (left * second).sum(-1) / mass
            both = (left * (first | second)).sum(-1) / mass
            for number, values in enumerate((one, both, one + other - one * other)):
                sums[number, head] += values.double().sum(-1)
    alone, together, expected = sums / queries
    return Coverage(alone, together, expected)
