"""Weights that are computed from queries and keys when they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError, InputError
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.block import Block
from attention_analyzer.weights.checks import check_shapes
from attention_analyzer.weights.cpu import fused
from attention_analyzer.weights.gather import as_statistics
from attention_analyzer.weights.gpu import launch
from attention_analyzer.weights.reductions import Axes, LargestWeight, Reduction, Statistics
from attention_analyzer.weights.scores import ScoreSource, working_dtype
from attention_analyzer.weights.visibility import Visibility


@dataclass(frozen=True)
class QueryKeyWeights(AttentionWeights):
    """Exact weights in memory linear in the text.

    The passes read memory by the sizes they are given, so this is where every source is checked: of a capture, of
    arrays, of a file.

    Raises:
        InputError: a shape, dtype or size of the source does not fit the others.
    """

    source: ScoreSource

    def __post_init__(self) -> None:
        check_shapes(self.source, "an attention site")

    @property
    def nbytes(self) -> int:
        return self.source.query.nbytes + self.source.key.nbytes

    @property
    def batch(self) -> int:
        return self.source.batch

    @property
    def heads(self) -> int:
        return self.source.heads

    @property
    def visibility(self) -> Visibility:
        return self.source.visibility

    def empty(self) -> Tensor:
        return torch.empty(0, dtype=working_dtype(self.source.query), device=self.source.device)

    def tile(self, batch: int, heads: slice, rows: slice) -> Tensor:
        if heads.stop <= heads.start or rows.stop <= rows.start:
            return self.empty().new_empty(heads.stop - heads.start, rows.stop - rows.start, self.keys)
        with torch.no_grad():
            return self.source.tile(batch, heads, rows)

    def blocks(self) -> Iterator[Block]:
        return self.source.blocks()

    def gather(self, reductions: Collection[Reduction], axes: Axes) -> Statistics:
        """By a kernel where that can be had, on CPU or GPU; else block by block. See :meth:`why_blocked`."""
        if (axes.batch, axes.heads, axes.queries, axes.keys) != (self.batch, self.heads, self.queries, self.keys):
            raise InputError("The axes of the pass are not those of the weights.")
        # The largest weights are always gathered: they show whether anything is not finite.
        wanted = dict.fromkeys([*reductions, LargestWeight()])
        if fused.why_not(self.source, wanted) is None:
            return as_statistics(fused.fused_gather(self.source, wanted, axes), axes)
        if launch.why_not(self.source, wanted) is None:
            with suppress(CaptureError):  # the plain pass finds out where a weight is not finite
                return as_statistics(launch.gpu_gather(self.source, wanted, axes), axes)
        return super().gather(reductions, axes)

    def why_blocked(self, reductions: Collection[Reduction]) -> str | None:
        """Why a pass for these reductions runs block by block in plain PyTorch; None if a kernel takes it."""
        return (launch if self.source.device.type == "cuda" else fused).why_not(self.source, reductions)

    def select(self, batch: int, queries: slice, keys: slice) -> QueryKeyWeights:
        """The weights of one batch row, cut to runs of queries and keys (its padding left out)."""
        return QueryKeyWeights(self.source.select(batch, queries, keys))

    def to(self, device: torch.device | str) -> QueryKeyWeights:
        return QueryKeyWeights(self.source.to(device))
