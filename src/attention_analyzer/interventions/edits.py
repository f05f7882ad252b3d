"""What can be done to one head: hide edges from it, give it another pattern, ablate it.

A changed head's output is computed exactly, from lazy weights and the values, in runs of rows; memory stays linear in
the text. Everything else in the output is left as the model's own function computed it, to the bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.hooks.calls import score_source
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.interventions.edges import Edges
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

#: Cells of one head that are held at once.
_CELLS = 1 << 21


class Pattern(ABC):
    """Another pattern for a head: finished rows instead of its own."""

    def of_text(self, text: int) -> Pattern:
        """The pattern for one text of a batch; the same for all unless it says otherwise."""
        return self

    @abstractmethod
    def rows(self, run: slice, seen: Tensor) -> Tensor:
        """``[row, key]`` for a run of queries, given the keys that each may look at (bool ``[row, key]``)."""


class Uniform(Pattern):
    """The same weight on every key that the query sees."""

    def rows(self, run: slice, seen: Tensor) -> Tensor:
        return seen.float() / seen.sum(-1, keepdim=True).clamp(min=1)


class FirstKey(Pattern):
    """All weight on the first key that the query sees: the sink, where the text's beginning is in sight."""

    def rows(self, run: slice, seen: Tensor) -> Tensor:
        first = seen & (seen.cumsum(-1) == 1)
        return first.float()


@dataclass(frozen=True)
class Given(Pattern):
    """The pattern of one head of given weights, such as those of another text."""

    weights: AttentionWeights
    head: int

    def rows(self, run: slice, seen: Tensor) -> Tensor:
        rows = self.weights.tile(0, slice(self.head, self.head + 1), run)[0].to(seen.device)
        if bool((rows.masked_fill(seen, 0) > 0).any()):
            row, key = (int(number) for number in (rows.masked_fill(seen, 0) > 0).nonzero()[0])
            raise InputError(
                f"The given pattern has the weight {float(rows[row, key]):.3g} at query {run.start + row}, key {key}, "
                "but that query cannot see this key; give weights on visible keys only."
            )
        return rows


@dataclass(frozen=True)
class HeadChange:
    """What is done to one head; exactly one of the three.

    Attributes:
        edges: to be hidden.
        pattern: to be used instead of its own.
        output: ``[channel]``: what every query gets instead of the head's output.
    """

    edges: tuple[Edges, ...] = ()
    pattern: Pattern | None = None
    output: Tensor | None = None


def changed_output(
    call: AttentionCall, output: Tensor, changes: Mapping[int, HeadChange], reader: MaskReader
) -> Tensor:
    """The output of one attention call with some heads changed.

    Args:
        output: ``[batch, query, head, channel]``, the model's own; it is not written to.
        changes: by head.
    """
    result = output.clone()
    source = None
    for head, change in changes.items():
        if change.output is not None:
            result[:, :, head] = change.output.to(result)
            continue
        source = source or score_source(call, reader)
        group = source.heads // call.value.shape[1]
        values = call.value[:, head // group].expand(source.batch, -1, -1)
        for text in range(source.batch):
            for rows, which, weights in _changed_rows(source, text, head, change):
                new = weights @ values[text].to(weights.dtype)
                result[text, rows, head] = torch.where(which[:, None], new.to(result.dtype), result[text, rows, head])
    return result


def _changed_rows(
    source: ScoreSource, text: int, head: int, change: HeadChange
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Runs of queries, which of them change (bool ``[row]``), and their new weights ``[row, key]``."""
    only = slice(head, head + 1)
    for rows in _runs(source, change):
        part = source.select(text, rows, slice(0, source.keys))
        seen = _seen(part, head)
        if change.pattern is not None:
            which = seen.any(-1)
            yield rows, which, change.pattern.of_text(text).rows(rows, seen)
            continue
        removed = torch.zeros_like(seen)
        for edges in change.edges:
            removed |= edges.removed(rows).to(seen.device)
        which = (removed & seen).any(-1)
        if bool(which.any()):
            left = Visibility(part.queries, part.keys, mask=(seen & ~removed)[None, None])
            yield rows, which, replace(part, visibility=left).tile(0, only, slice(0, part.queries))[0]


def _runs(source: ScoreSource, change: HeadChange) -> Iterator[slice]:
    """Runs of queries that cover all that may change."""
    first, stop = 0, source.queries
    if change.edges:
        asked = torch.stack([edges.queries for edges in change.edges]).any(0).nonzero()[:, 0]
        first, stop = (int(asked[0]), int(asked[-1]) + 1) if len(asked) else (0, 0)
    step = max(1, _CELLS // source.keys)
    return (slice(start, min(start + step, stop)) for start in range(first, stop, step))


def _seen(part: ScoreSource, head: int) -> Tensor:
    """bool ``[row, key]``: what a head of the only text in ``part`` sees."""
    shape = (part.queries, part.keys)
    seen = part.visibility.seen(slice(0, shape[0]), slice(0, shape[1]), slice(0, 1), part.device)
    if seen is None:
        return torch.ones(shape, dtype=torch.bool, device=part.device)
    return seen[0, min(head, seen.shape[1] - 1)].expand(shape)
