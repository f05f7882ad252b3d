"""Attention weights as a lazy array ``[head, query, key]``: slice it, or reduce it, never hold it whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from attention_analyzer.errors import SelectionError
from attention_analyzer.weights.block import Block
from attention_analyzer.weights.gather import gather
from attention_analyzer.weights.reductions import Axes, Reduction, Statistics
from attention_analyzer.weights.visibility import Visibility

Index: TypeAlias = int | slice


class AttentionWeights(ABC):
    """The weights of one attention site for one text (or, in a stream, for a padded batch).

    ``weights[head, rows, keys]`` gives an exact tile as a new tensor; ``weights.reduce(...)`` reads all cells once.
    """

    @property
    @abstractmethod
    def batch(self) -> int: ...

    @property
    @abstractmethod
    def visibility(self) -> Visibility: ...

    @property
    @abstractmethod
    def heads(self) -> int: ...

    @abstractmethod
    def tile(self, batch: int, heads: slice, rows: slice) -> Tensor:
        """Finished rows ``[head, row, key]`` of one batch row, as a new tensor."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """All finished rows; a block is only good until the next one."""

    @abstractmethod
    def empty(self) -> Tensor:
        """An empty tensor of the dtype and device of results."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory that the stored tensors take, in bytes."""

    @abstractmethod
    def select(self, batch: int, queries: slice, keys: slice) -> AttentionWeights:
        """The weights of one batch row, cut to runs of queries and keys (its padding left out)."""

    @property
    def queries(self) -> int:
        return self.visibility.queries

    @property
    def keys(self) -> int:
        return self.visibility.keys

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(heads, queries, keys)``."""
        return self.heads, self.queries, self.keys

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Tensor:
        """An exact tile, indexed like an array ``[head, query, key]`` with integers and plain slices."""
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) > 3:
            raise SelectionError(f"Weights have three axes [head, query, key], but {len(parts)} indices were given.")
        names = ("head", "query", "key")
        full = [
            _run(parts[axis] if axis < len(parts) else slice(None), size, names[axis])
            for axis, size in enumerate(self.shape)
        ]
        tile = self.tile(0, full[0], full[1])[..., full[2]].clone()
        for axis in reversed(range(len(parts))):
            if isinstance(parts[axis], int):
                tile = tile.squeeze(axis)
        return tile

    def full(self) -> Tensor:
        """The whole array ``[head, query, key]``; quadratic in the text."""
        return self[:]

    def reduce(
        self,
        reductions: Collection[Reduction],
        *,
        diagonal: int | None = 0,
        groups: Mapping[str, Tensor] | None = None,
        labels: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        factors: Mapping[str, Tensor] | None = None,
        valid: Tensor | None = None,
        key_valid: Tensor | None = None,
    ) -> Statistics:
        """Gather statistics in one blocked pass, with memory linear in the text.

        Args:
            reductions: what to gather.
            diagonal: query ``i`` is key ``i + diagonal``; None for cross-attention.
            groups: named key groups, bool ``[batch or 1, key]``.
            labels: named labels of queries and keys, ``([batch or 1, query], [batch or 1, key])``; see :class:`Axes`.
            factors: named factors of queries, ``[batch or 1, query]``.
            valid: bool ``[batch, query]``, queries that count; all by default. Blind queries never count.
            key_valid: bool ``[batch or 1, key]``, keys that are not padding; all by default.

        Raises:
            CaptureError: a weight is NaN or infinite.
        """
        like = self.empty()
        visible = self.visibility.counts(like.device)
        sees_something = (visible > 0).any(1).expand(self.batch, -1)
        axes = Axes(
            batch=self.batch,
            heads=self.heads,
            queries=self.queries,
            keys=self.keys,
            diagonal=diagonal,
            valid=sees_something if valid is None else sees_something & valid.to(like.device),
            visible=visible,
            key_valid=None if key_valid is None else key_valid.to(like.device),
            groups=groups or {},
            labels=labels or {},
            factors=factors or {},
        )
        with torch.no_grad():
            return self.gather(reductions, axes)

    def gather(self, reductions: Collection[Reduction], axes: Axes) -> Statistics:
        """One pass for a frame that is already drawn up; see :meth:`reduce`."""
        return gather(self.blocks(), reductions, axes, self.empty())


def _run(index: object, size: int, name: str) -> slice:
    if isinstance(index, slice):
        start, stop, step = index.indices(size)
        if step != 1:
            raise SelectionError(f"The {name} axis takes plain slices only, but the step is {step}.")
        return slice(start, max(start, stop))
    if not isinstance(index, int) or isinstance(index, bool):
        raise SelectionError(f"The {name} axis takes an integer or a slice, not {index!r}.")
    if not -size <= index < size:
        raise SelectionError(f"There is no {name} {index}: this site has {size}, numbered from 0 to {size - 1}.")
    index %= size
    return slice(index, index + 1)
