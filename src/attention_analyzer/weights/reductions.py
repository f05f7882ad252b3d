"""What one pass over the weights can gather.

A :class:`Reduction` is asked for by value (``OffsetWeight(-1)``), so that two metrics that need the same one share it.
Rows arrive finished, so a reduction may be anything that can be written over a block of rows. Those that are linear in
a row (weight on a group of keys, expected distance) or that lie near the diagonal are gathered together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.weights.block import Block


@dataclass(frozen=True)
class Axes:
    """The sizes and the frame of one pass.

    Attributes:
        batch, heads, queries, keys: sizes.
        diagonal: query ``i`` is the same token as key ``i + diagonal``; None where the axes hold different tokens
            (cross-attention), so that offsets and distances have no meaning.
        valid: bool ``[batch, query]``, queries that count; padding does not, nor does a query that sees no key.
        visible: int64 ``[batch or 1, head or 1, query]``, how many keys a query sees.
        key_valid: bool ``[batch or 1, key]``, keys that are not padding; None if all are real.
        groups: named key groups, bool ``[batch or 1, key]`` (special tokens, punctuation …).
        labels: named labels of queries and of keys, int64 ``([batch or 1, query], [batch or 1, key])``; negative for
            tokens that have none. A query is matched with the keys that bear its label.
        factors: named factors of queries, ``[batch or 1, query]``, for :class:`WeightedColumnSum`.

    Raises:
        InputError: a part has another shape or dtype; passes read memory by these sizes.
    """

    batch: int
    heads: int
    queries: int
    keys: int
    diagonal: int | None
    valid: Tensor
    visible: Tensor
    key_valid: Tensor | None = None
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    factors: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.diagonal is not None and abs(self.diagonal) > self.queries + self.keys:
            raise InputError(
                f"The diagonal {self.diagonal} lies outside of {self.queries} queries and {self.keys} keys."
            )
        self._check("the valid queries", self.valid, self.queries, is_flags=True)
        if self.valid.shape[0] != self.batch:
            raise InputError(f"Valid queries are of {self.valid.shape[0]} texts, but the pass is over {self.batch}.")
        if self.key_valid is not None:
            self._check("the valid keys", self.key_valid, self.keys, is_flags=True)
        for name, group in self.groups.items():
            self._check(f"the group {name!r}", group, self.keys, is_flags=True)
        for name, (of_queries, of_keys) in self.labels.items():
            self._check(f"the labels {name!r} of queries", of_queries, self.queries)
            self._check(f"the labels {name!r} of keys", of_keys, self.keys)
        for name, factor in self.factors.items():
            self._check(f"the factors {name!r}", factor, self.queries)

    def _check(self, name: str, values: Tensor, size: int, *, is_flags: bool = False) -> None:
        if values.dim() != 2 or values.shape[0] not in {1, self.batch} or values.shape[1] != size:
            raise InputError(
                f"The shape of {name} is {tuple(values.shape)}, but [{self.batch} or 1, {size}] is needed."
            )
        if is_flags and values.dtype != torch.bool:
            raise InputError(f"{name.capitalize()} must be booleans, not {values.dtype}.")

    @property
    def flat(self) -> int:
        return self.batch * self.heads

    def part(self, rows: slice) -> Axes:
        """The frame of some batch rows."""

        def cut(values: Tensor) -> Tensor:
            return values if values.shape[0] == 1 and self.batch > 1 else values[rows]

        return replace(
            self,
            batch=rows.stop - rows.start,
            valid=cut(self.valid),
            visible=cut(self.visible),
            key_valid=None if self.key_valid is None else cut(self.key_valid),
            groups={name: cut(group) for name, group in self.groups.items()},
            labels={name: (cut(queries), cut(keys)) for name, (queries, keys) in self.labels.items()},
            factors={name: cut(factor) for name, factor in self.factors.items()},
        )

    @property
    def real_keys(self) -> Tensor:
        """int64 ``[batch or 1, 1]``: how many keys are not padding."""
        if self.key_valid is None:
            return torch.tensor([[self.keys]], device=self.valid.device)
        return self.key_valid.sum(-1, keepdim=True)


class Reduction(ABC):
    """One statistic of finished rows; frozen and hashable, so that equal requests are one."""

    #: Whether the result is per query or per key.
    axis: ClassVar[Literal["query", "key"]] = "query"

    @abstractmethod
    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        """Enter a block into ``result`` (``[flat head, query]`` or ``[flat head, key]``)."""

    def start(self, axes: Axes, like: Tensor) -> Tensor:
        """The empty result. NaN for queries: a value nobody entered must not look like one."""
        if self.axis == "key":
            return like.new_zeros(axes.flat, axes.keys)
        return like.new_full((axes.flat, axes.queries), torch.nan)


@dataclass(frozen=True)
class Entropy(Reduction):
    """Shannon entropy of a row in nats, ``-Σ a log a``."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        # Rounding can leave a one-hot row a hair below zero.
        result[block.heads, block.rows] = block.row_entropy.clamp(min=0)


@dataclass(frozen=True)
class LargestWeight(Reduction):
    """The largest weight of a row."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = block.largest


@dataclass(frozen=True)
class SmallestWeight(Reduction):
    """The smallest weight of a row among the keys the query sees."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = block.row_smallest


@dataclass(frozen=True)
class StrongestKey(Reduction):
    """Index of the key with the largest weight (the first of equals), as a float."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = (block.weights.argmax(-1) + block.keys.start).to(result.dtype)


@dataclass(frozen=True)
class TotalWeight(Reduction):
    """The sum of a row: one, or what an attention sink leaves."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.rows] = block.row_total


class Shared(Reduction):
    """A reduction that is gathered together with others of its kind, in :mod:`.shared`."""

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        """Nothing: the shared part enters the block for all of them."""


@dataclass(frozen=True)
class OffsetWeight(Shared):
    """Weight on the key at a fixed offset, ``a[i, i + offset]``; NaN where there is no such key."""

    offset: int


@dataclass(frozen=True)
class WindowWeight(Shared):
    """Weight on the keys at most ``width`` tokens away, itself included."""

    width: int


@dataclass(frozen=True)
class GroupWeight(Shared):
    """Weight on a named group of keys."""

    group: str


@dataclass(frozen=True)
class Distance(Shared):
    """Expected distance in tokens between the query and what it looks at, ``Σ a_ij |i - j|`` over the row's sum."""


@dataclass(frozen=True)
class ReceivedWeight(Reduction):
    """Weight a key receives from all valid queries together, ``Σ_i a_ij``."""

    axis: ClassVar[Literal["query", "key"]] = "key"

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        result[block.heads, block.keys] += block.weights.sum(-2)


@dataclass(frozen=True)
class WeightedColumnSum(Reduction):
    """Weight a key receives from queries that count differently, ``Σ_i r_i a_ij``.

    One step of a vector through a layer: a product of many matrices, of which one row is wanted, needs no matrix.

    Attributes:
        factors: the name of ``r`` in :attr:`Axes.factors`.
    """

    axis: ClassVar[Literal["query", "key"]] = "key"
    factors: str

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        factors = axes.factors[self.factors].to(block.weights)
        if factors.shape[0] == 1:
            result[block.heads, block.keys] += torch.matmul(factors[0, block.rows], block.weights)
            return
        texts = torch.arange(block.heads.start, block.heads.stop, device=factors.device) // axes.heads
        result[block.heads, block.keys] += torch.bmm(factors[texts, None, block.rows], block.weights)[:, 0]


@dataclass(frozen=True)
class RunSums(Reduction):
    """Sums of weights over pairs of a run of queries and a run of keys: ``[query run, key run]`` for each head.

    Runs are consecutive tokens with one label; queries with a negative label do not count. A row's weights by run are
    differences of its running sum at the borders, so a run costs nothing and memory is heads × runs².

    Attributes:
        labels: the name of both axes' labels in :attr:`Axes.labels`; they never fall from one token to the next.
        without: the name of a group of keys that is left out; each row is divided by what the others have of it.
    """

    labels: str
    without: str = ""

    def start(self, axes: Axes, like: Tensor) -> Tensor:
        of_queries, of_keys = axes.labels[self.labels]
        sizes = (int(part.max()) + 1 if part.numel() else 0 for part in (of_queries, of_keys))
        return like.new_zeros(axes.flat, *(max(size, 0) for size in sizes), dtype=torch.float64)

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        of_queries, of_keys = (part.to(block.weights.device) for part in axes.labels[self.labels])
        for text, flat, inside in _texts_of(block, axes):
            weights = block.weights[inside].double()
            if self.without:
                weights = _without(weights, axes.groups[self.without], block, text)
            keys = of_keys[min(text, len(of_keys) - 1), block.keys].contiguous()
            edges = torch.searchsorted(keys, torch.arange(result.shape[-1] + 1, device=keys.device))
            running = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))[..., edges]
            queries = of_queries[min(text, len(of_queries) - 1), block.rows]
            counted = queries >= 0
            result[flat] = result[flat].index_add(1, queries[counted], running.diff(dim=-1)[:, counted])


@dataclass(frozen=True)
class DistanceSums(Reduction):
    """Sums of weights over all cells whose distance ``query - key`` lies in a bin: ``[bin]`` for each head.

    Attributes:
        edges: bin ``b`` has the distances from ``edges[b]`` to ``edges[b + 1] - 1``; the others do not count.
        labels: the name of labels; queries with a negative one do not count.
        without: as for :class:`RunSums`.
    """

    edges: tuple[int, ...]
    labels: str
    without: str = ""

    def start(self, axes: Axes, like: Tensor) -> Tensor:
        if axes.diagonal is None:
            raise InputError("Distances have no meaning between different texts.")
        return like.new_zeros(axes.flat, len(self.edges) - 1, dtype=torch.float64)

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        assert axes.diagonal is not None
        of_queries = axes.labels[self.labels][0].to(block.weights.device)
        own = torch.arange(block.rows.start, block.rows.stop, device=block.weights.device) + axes.diagonal
        edges = torch.tensor(self.edges, device=own.device)
        # Distances from e on are the keys up to own - e.
        stops = (own[:, None] - edges + 1 - block.keys.start).clamp(0, block.keys.stop - block.keys.start)
        for text, flat, inside in _texts_of(block, axes):
            weights = block.weights[inside].double()
            if self.without:
                weights = _without(weights, axes.groups[self.without], block, text)
            running = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
            reached = running.gather(-1, stops.expand(len(running), -1, -1))
            counted = of_queries[min(text, len(of_queries) - 1), block.rows] >= 0
            result[flat] -= reached.diff(dim=-1)[:, counted].sum(1)


def _texts_of(block: Block, axes: Axes) -> Iterator[tuple[int, slice, slice]]:
    """The texts of a block: their number, their heads on the flat axis, and on the block's own axis."""
    for text in range(block.heads.start // axes.heads, (block.heads.stop - 1) // axes.heads + 1):
        flat = slice(max(block.heads.start, text * axes.heads), min(block.heads.stop, (text + 1) * axes.heads))
        yield text, flat, slice(flat.start - block.heads.start, flat.stop - block.heads.start)


def _without(weights: Tensor, group: Tensor, block: Block, text: int) -> Tensor:
    """Rows without a group of keys, divided by what the others have; zero where they have nothing."""
    members = group[min(text, len(group) - 1), block.keys].to(weights.device)
    left = weights.masked_fill(members, 0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / total.clamp(min=torch.finfo(total.dtype).tiny), 0)


@dataclass(frozen=True)
class MatchWeight(Reduction):
    """Weight on the keys that bear the query's own label; NaN where the query sees no such key.

    With token ids as labels this is the weight on the same token elsewhere; with each key labeled by the token before
    it, the weight on what followed the same token.

    Attributes:
        labels: the labels' name in :attr:`Axes.labels`.
        among: which keys count: "all", those at "other" positions than the query, or only "earlier" ones.
    """

    labels: str
    among: Literal["all", "other", "earlier"] = "all"

    def update(self, result: Tensor, block: Block, axes: Axes) -> None:
        of_queries, of_keys = (part.to(block.weights.device) for part in axes.labels[self.labels])
        for text, flat, inside in _texts_of(block, axes):
            query = of_queries[min(text, len(of_queries) - 1), block.rows, None]
            matching = (query == of_keys[min(text, len(of_keys) - 1), None, block.keys]) & (query >= 0)
            matching = self._seen(self._placed(matching, block, axes), block, inside)
            result[flat, block.rows] = _sum_where(block.weights[inside], matching)

    def _placed(self, matching: Tensor, block: Block, axes: Axes) -> Tensor:
        if self.among == "all" or axes.diagonal is None:
            return matching
        offset = block.keys.start - block.rows.start - axes.diagonal
        if self.among == "earlier":
            return matching.tril(-1 - offset)
        return matching.tril(-1 - offset) | matching.triu(1 - offset)

    def _seen(self, matching: Tensor, block: Block, heads: slice) -> Tensor:
        """bool ``[head or 1, row, key]``: a key that is hidden from the query is no match."""
        matching = matching[None]
        if block.hidden is None:
            return matching
        hidden = block.hidden if block.hidden.shape[0] == 1 else block.hidden[heads]
        if hidden.shape[0] > 1 and bool((hidden == hidden[:1]).all()):
            hidden = hidden[:1]  # the heads of one text usually see the same
        always = matching[..., : block.hidden_from].expand(hidden.shape[0], -1, -1)
        return torch.cat([always, matching[..., block.hidden_from :] & ~hidden], dim=-1)


def _sum_where(weights: Tensor, matching: Tensor) -> Tensor:
    """``[head, row]``: sums of ``weights [head, row, key]`` over the matching keys; NaN for rows without any."""
    if matching.shape[0] > 1:
        sums = torch.where(matching, weights, 0).sum(-1)
    else:
        # Matches are few: the cells are gathered, not all looked at.
        rows, keys = matching[0].nonzero(as_tuple=True)
        sums = weights.new_zeros(weights.shape[:2]).index_add_(1, rows, weights[:, rows, keys])
    return sums.masked_fill(~matching.any(-1), torch.nan)


@dataclass(frozen=True)
class Statistics:
    """The results of one pass, per batch row, head and query (or key)."""

    axes: Axes
    values: Mapping[Reduction, Tensor]
    #: The statistics of several sites that these are a part of, and which of their batch rows these are.
    whole: tuple[Statistics, slice] | None = None

    def part(self, rows: slice) -> Statistics:
        """The statistics of some batch rows."""
        values = {reduction: value[rows] for reduction, value in self.values.items()}
        return Statistics(self.axes.part(rows), values, (self, rows))

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives, computed when ``name`` is first asked for."""
        made: dict[str, Tensor] = self.__dict__.setdefault("_made", {})
        if name not in made:
            made[name] = make()
        return made[name]

    def __getitem__(self, reduction: Reduction) -> Tensor:
        """``[batch, head, query]``, or ``[batch, head, key]`` for what keys receive. NaN where undefined."""
        return self.values[reduction]

    @cached_property
    def valid(self) -> Tensor:
        """bool ``[batch, head or 1, query]``: queries that count; in a head where it sees no key, none does."""
        return self.axes.valid[:, None] & (self.axes.visible > 0)

    @cached_property
    def choosing(self) -> Tensor:
        """bool like :attr:`valid`: those of them that see at least two keys."""
        return self.valid & (self.axes.visible > 1)

    def mean_over_queries(self, values: Tensor, *, choosing: bool = False) -> Tensor:
        """``[batch, head]``: mean of ``values [batch, head, query]`` over the queries that have one; NaN without any.

        Args:
            choosing: whether the queries of :attr:`choosing` count only, not all valid ones.
        """
        counted = self.choosing if choosing else self.valid
        total = values.masked_fill(~counted, 0).sum(-1)
        if bool(total.isnan().any()):  # most values are defined everywhere: to ask the sums is cheaper
            counted = counted & ~values.isnan()
            total = values.masked_fill(~counted, 0).sum(-1)
        return total / counted.sum(-1)

    def mean(self, reduction: Reduction) -> Tensor:
        return self.mean_over_queries(self[reduction])
