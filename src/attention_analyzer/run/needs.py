"""What studies need of the weights, taken together: equal reductions of a site are measured once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.inputs import Prepared
from attention_analyzer.site import Kind
from attention_analyzer.text.padding import valid_of
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.reductions import Reduction, Statistics
from attention_analyzer.weights.stacked import Task, is_small, reduce_together

Labels = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Needs:
    """Reductions of one site that a study needs, and what becomes of them.

    Attributes:
        reductions: gathered in one pass with those that other studies of the same run need.
        then: called with the statistics ``[text, head, …]``, in which padding does not count; what it returns is kept.
        diagonal, groups, labels: as for :meth:`.AttentionWeights.reduce`.
    """

    reductions: Sequence[Reduction]
    then: Callable[[Statistics], Any]
    diagonal: int | None = 0
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Labels] = field(default_factory=dict)


@dataclass
class _Pass:
    """One pass over a site: for all needs that agree on what their groups and labels are."""

    task: Task
    reductions: tuple[Reduction, ...]
    needs: list[tuple[int, Needs]]


class United:
    """The needs of several studies in one batch. Large sites are reduced at once, so that their queries and keys need
    not outlive the call; small ones of equal shape wait for :meth:`finish` and are reduced together.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._valid: dict[tuple[str, Kind], Labels] = {}
        self._frames: dict[Any, list[_Frame]] = {}
        self._waiting: list[tuple[_Pass, list[Any]]] = []

    def add(self, stack: str, kind: Kind, weights: AttentionWeights, found: list[Any]) -> list[Any]:
        """What each study keeps of a site; ``found`` has its :class:`Needs`, or what it has kept already.

        Entries of small sites are final only after :meth:`finish`.
        """
        for each in self._passes(stack, kind, weights, found):
            if is_small(weights):
                self._waiting.append((each, found))
            else:
                _keep(each, each.task.reduce(each.reductions), found)
        return found

    def finish(self) -> None:
        """Reduce the sites that wait."""
        alike: dict[tuple[Reduction, ...], list[tuple[_Pass, list[Any]]]] = {}
        for each, found in self._waiting:
            alike.setdefault(each.reductions, []).append((each, found))
        self._waiting = []
        for reductions, waiting in alike.items():
            statistics = reduce_together([each.task for each, _ in waiting], reductions)
            for (each, found), values in zip(waiting, statistics, strict=True):
                _keep(each, values, found)

    def _passes(self, stack: str, kind: Kind, weights: AttentionWeights, found: Sequence[Any]) -> list[_Pass]:
        needs = [(number, each) for number, each in enumerate(found) if isinstance(each, Needs)]
        if not needs:
            return []
        if (stack, kind) not in self._valid:
            queries, keys = self._prepared.axes(stack, kind)
            self._valid[stack, kind] = valid_of(queries), valid_of(keys)
        device = weights.empty().device
        # The same groups and labels at every layer are united, and moved to the device, once.
        given = tuple((each.diagonal, *map(id, (*each.groups.values(), *sum(each.labels.values(), ()))))
                      for _, each in needs)  # fmt: skip
        at = (stack, kind, device, given, tuple(tuple(each.groups) for _, each in needs))
        if at not in self._frames:
            self._frames[at] = _frames([each for _, each in needs], device, self._valid[stack, kind])
        passes = []
        for frame in self._frames[at]:
            own = [needs[number] for number in frame.members]
            reductions = tuple(dict.fromkeys(wanted for _, each in own for wanted in each.reductions))
            passes.append(_Pass(frame.task(weights), reductions, own))
        return passes


@dataclass
class _Frame:
    """Groups and labels that some needs, by their number, agree on."""

    diagonal: int | None
    members: list[int]
    groups: dict[str, Tensor]
    labels: dict[str, Labels]
    valid: Labels
    kept: list[Needs]

    def task(self, weights: AttentionWeights) -> Task:
        return Task(weights, self.diagonal, self.groups, self.labels, *self.valid, shares=id(self))

    def agrees(self, needs: Needs) -> bool:
        return (
            self.diagonal == needs.diagonal
            and all(_equal(self.groups.get(name), group) for name, group in needs.groups.items())
            and all(
                name not in self.labels or all(map(_equal, self.labels[name], pair))
                for name, pair in needs.labels.items()
            )
        )


def _frames(needs: Sequence[Needs], device: torch.device, valid: Labels) -> list[_Frame]:
    frames: list[_Frame] = []
    for number, each in enumerate(needs):
        on_device = Needs(
            each.reductions,
            each.then,
            each.diagonal,
            {name: group.to(device) for name, group in each.groups.items()},
            {name: (queries.to(device), keys.to(device)) for name, (queries, keys) in each.labels.items()},
        )
        frame = next((known for known in frames if known.agrees(on_device)), None)
        if frame is None:
            frame = _Frame(each.diagonal, [], {}, {}, valid, [])
            frames.append(frame)
        frame.members.append(number)
        frame.groups |= on_device.groups
        frame.labels |= on_device.labels
        frame.kept.append(each)  # the cache knows tensors by their ids, so they must live as long
    return frames


def _equal(known: Tensor | None, given: Tensor) -> bool:
    return known is None or known is given or torch.equal(known, given)


def _keep(done: _Pass, statistics: Statistics, found: list[Any]) -> None:
    for number, needs in done.needs:
        found[number] = needs.then(statistics)
