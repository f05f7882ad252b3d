"""Small sites of equal shape reduced together, in one pass.

For a short text the fixed cost of a pass, not its arithmetic, decides how long a head table takes: the call, the checks
and the results of every site. Sites that agree in shape, scaling and visibility are therefore put along the batch axis
and reduced at once; each gets its rows of the results.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Reduction, Statistics
from attention_analyzer.weights.visibility import Visibility

#: Bytes of queries and keys up to which a site is small: beyond, a pass costs so much more than a call that putting
#: sites together gains nothing, and holding them until the forward is over costs memory.
SMALL = 4 << 20


@dataclass(frozen=True)
class Task:
    """One site's weights and the frame of its pass; the arguments of :meth:`AttentionWeights.reduce`.

    Attributes:
        shares: tasks with equal values here have the same groups, labels and valid queries and keys.
    """

    weights: AttentionWeights
    diagonal: int | None = 0
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    valid: Tensor | None = None
    key_valid: Tensor | None = None
    shares: Hashable = None

    def reduce(self, reductions: Collection[Reduction]) -> Statistics:
        return self.weights.reduce(
            reductions,
            diagonal=self.diagonal,
            groups=self.groups,
            labels=self.labels,
            valid=self.valid,
            key_valid=self.key_valid,
        )


def is_small(weights: AttentionWeights) -> bool:
    """Whether a site gains by being reduced together with others."""
    return isinstance(weights, QueryKeyWeights) and weights.nbytes <= SMALL and _kind(weights) is not None


def reduce_together(tasks: Sequence[Task], reductions: Collection[Reduction]) -> list[Statistics]:
    """The statistics of every task, as :meth:`Task.reduce` gives them.

    Raises:
        CaptureError: a weight is NaN or infinite.
    """
    stacks: dict[Hashable, list[int]] = {}
    for index, task in enumerate(tasks):
        kind = _kind(task.weights) if isinstance(task.weights, QueryKeyWeights) and is_small(task.weights) else None
        key = ("alone", index) if kind is None else (kind, task.diagonal, task.shares)
        stacks.setdefault(key, []).append(index)
    results: dict[int, Statistics] = {}
    for members in stacks.values():
        first = tasks[members[0]]
        whole = (_stack([tasks[index] for index in members]) if len(members) > 1 else first).reduce(reductions)
        size = first.weights.batch
        for place, index in enumerate(members):
            rows = slice(place * size, (place + 1) * size)
            results[index] = whole.part(rows) if len(members) > 1 else whole
    return [results[index] for index in range(len(tasks))]


def _kind(weights: QueryKeyWeights) -> Hashable | None:
    """What sites that are reduced together have in common; None for a site that is reduced alone."""
    source, seen = weights.source, weights.source.visibility
    if source.bias is not None or source.sinks is not None:
        return None
    return (
        *(source.query.shape, source.key.shape, source.query.dtype, source.device, source.scaling, source.softcap),
        seen.identity,
    )


def _stack(tasks: Sequence[Task]) -> Task:
    first, count = tasks[0], len(tasks)
    sources = [task.weights.source for task in tasks if isinstance(task.weights, QueryKeyWeights)]
    source = replace(
        sources[0],
        query=torch.cat([source.query for source in sources]),
        key=torch.cat([source.key for source in sources]),
        visibility=_repeated_visibility(sources[0].visibility, count),
    )
    return replace(
        first,
        weights=QueryKeyWeights(source),
        groups={name: _repeated(group, count) for name, group in first.groups.items()},
        labels={name: (_repeated(a, count), _repeated(b, count)) for name, (a, b) in first.labels.items()},
        valid=None if first.valid is None else _repeated(first.valid, count),
        key_valid=None if first.key_valid is None else _repeated(first.key_valid, count),
    )


def _repeated_visibility(seen: Visibility, count: int) -> Visibility:
    return replace(
        seen,
        key_seen=None if seen.key_seen is None else _repeated(seen.key_seen, count),
        segments=None
        if seen.segments is None
        else (_repeated(seen.segments[0], count), _repeated(seen.segments[1], count)),
        mask=None if seen.mask is None else _repeated(seen.mask, count),
    )


def _repeated(values: Tensor, count: int) -> Tensor:
    """A batch axis repeated for every site; one of size 1 is shared as it is."""
    return values if values.shape[0] == 1 else values.repeat(count, *[1] * (values.dim() - 1))
