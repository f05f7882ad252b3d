from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.weights.block import Block
from attention_analyzer.weights.reductions import Axes, Reduction


@dataclass(frozen=True)
class RecentWeight(Reduction):
    """Weight on the last keys up to the query's own, that one included.

    Attributes:
        count: how many keys.
    """

    count: int

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        assert axes.diagonal is not None
        own = slice(block.rows.start + axes.diagonal, block.rows.stop + axes.diagonal)
        # Keys outside the block are hidden from its queries; only a narrow strip of those inside is recent.
        start = min(max(own.start - self.count + 1, block.keys.start), block.keys.stop)
        stop = min(max(own.stop, start), block.keys.stop)
        device = block.weights.device
        keys, rows = torch.arange(start, stop, device=device), torch.arange(own.start, own.stop, device=device)[:, None]
        recent = (keys <= rows) & (keys > rows - self.count)
        strip = block.weights[..., start - block.keys.start : stop - block.keys.start]
        result[block.heads, block.rows] = (strip * recent).sum(-1)
