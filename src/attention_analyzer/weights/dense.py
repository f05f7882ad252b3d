"""Weights that exist as numbers: handed over by a model that gives nothing else, or brought by the user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.block import Block, block_plan
from attention_analyzer.weights.scores import working_dtype
from attention_analyzer.weights.visibility import Visibility


@dataclass(frozen=True)
class DenseWeights(AttentionWeights):
    """Stored weights ``[batch, head, query, key]``; never written to."""

    tensor: Tensor
    seen: Visibility

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes

    @property
    def batch(self) -> int:
        return self.tensor.shape[0]

    @property
    def heads(self) -> int:
        return self.tensor.shape[1]

    @property
    def visibility(self) -> Visibility:
        return self.seen

    def empty(self) -> Tensor:
        return torch.empty(0, dtype=working_dtype(self.tensor), device=self.tensor.device)

    def tile(self, batch: int, heads: slice, rows: slice) -> Tensor:
        return self.tensor[batch, heads, rows].to(working_dtype(self.tensor))

    def blocks(self) -> Iterator[Block]:
        flat = self.tensor.reshape(self.batch * self.heads, self.queries, self.keys)
        plan = block_plan(
            outer=flat.shape[0],
            group=1,
            rows=self.queries,
            visible_keys=self.seen.key_range,
            boundary=None if self.seen.is_band else self.heads,
            device=flat.device,
        )
        for heads, rows in plan:
            keys = self.seen.key_range(rows)
            weights = flat[heads, rows, keys].to(working_dtype(flat), copy=True)
            yield Block(
                weights=weights,
                scores=None,
                log_sum=None,
                largest=weights.amax(-1),
                hidden=self._hidden(heads, rows, keys),
                heads=heads,
                rows=rows,
                keys=keys,
            )

    def select(self, batch: int, queries: slice, keys: slice) -> DenseWeights:
        """The weights of one batch row, cut to runs of queries and keys (its padding left out)."""
        cut = self.tensor[batch : batch + 1, :, queries, keys]
        return DenseWeights(cut, self.seen.select(batch, queries, keys))

    def to(self, device: torch.device | str) -> DenseWeights:
        return DenseWeights(self.tensor.to(device), self.seen.to(device))

    def _hidden(self, flat: slice, rows: slice, keys: slice) -> Tensor | None:
        text = flat.start // self.heads
        seen = self.seen.seen(rows, keys, slice(text, text + 1), self.tensor.device)
        if seen is None:
            return None
        heads = slice(flat.start - text * self.heads, flat.stop - text * self.heads)
        return ~(seen[0, heads] if seen.shape[1] > 1 else seen[0])
