"""What a pattern is: a way of attending that has a name, and how much of a head's attention goes that way."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from torch import Tensor

from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.reductions import (
    Distance,
    GroupWeight,
    MatchWeight,
    OffsetWeight,
    Reduction,
    Statistics,
    WindowWeight,
)


@dataclass(frozen=True)
class TokenContext:
    """What is known of the tokens on a site's axes: groups of them, and which are alike.

    Attributes:
        diagonal: query ``i`` is key ``i + diagonal``; None for cross-attention.
        groups, labels: as in :class:`.reductions.Axes`.
        moves: how many moved copies of them there are, named ``name~1`` and so on; see :mod:`.frame`.
    """

    diagonal: int | None
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    moves: int = 0

    def can_gather(self, need: Reduction) -> bool:
        if isinstance(need, GroupWeight):
            return need.group in self.groups
        if isinstance(need, MatchWeight):
            return need.labels in self.labels
        return self.diagonal is not None or not isinstance(need, (OffsetWeight, WindowWeight, Distance))


class Pattern(ABC):
    """One way of attending, with a strength in [0, 1] for every head of a site.

    The docstring of a subclass is its definition, with its source. A query that sees a single key has no choice and
    never counts. A strength is NaN where the pattern has no meaning (no such token, a single query).
    """

    name: ClassVar[str]
    #: For people.
    title: ClassVar[str]
    #: From which strength on, corrected for chance and position, a head may bear the name.
    threshold: ClassVar[float] = 0.5
    #: What the pass must gather.
    needs: tuple[Reduction, ...]
    #: Labels that it reads by itself.
    labels: ClassVar[tuple[str, ...]] = ()
    #: Where the weight lies that the strength is a share of, for people: such as "on the token before". ``{which}`` is
    #: what :meth:`said` or the group's tokens say. "" for patterns whose strength is no share of the weight.
    place: ClassVar[str] = ""
    #: Whether attention spread evenly shows what chance would give. Not so for patterns that are about spread itself.
    has_chance: ClassVar[bool] = True
    #: The position-matched control is the same pattern on another part of the text: its groups and labels are moved
    #: along the text, so that their number and spacing stay and only their tokens are wrong.
    moves: ClassVar[bool] = False

    def fitting(self, frame: TokenContext) -> Self | None:
        """The pattern as it can be looked for in this frame; None where it has no meaning."""
        known = all(map(frame.can_gather, self.needs)) and all(name in frame.labels for name in self.labels)
        return self if known else None

    def strength(self, results: Statistics) -> Tensor:
        """``[batch, head]``: the mean of :meth:`values` over the queries that choose, or what a subclass says."""
        values = self.values(results)
        if values is None:
            raise NotImplementedError(f"{type(self).__name__} defines strength() or values()")
        return mean_over_choices(results, values)

    def values(self, results: Statistics) -> Tensor | None:
        """``[batch, head, query]`` in [0, 1], NaN where undefined, whose mean the strength is; None if it is none."""
        return None

    def places(self, results: Statistics) -> Tensor | None:
        """int64 ``[batch, head, place]``: where the attention goes, if the name does not say it; -1 fills up."""
        return None

    def said(self, places: Sequence[int], keys: Tokens) -> list[str]:
        """One head's :meth:`places` for people."""
        return []

    def beside(self, results: Statistics) -> Tensor | None:
        """``[batch, head]``: the strength just beside the pattern's place, for patterns that are one place."""
        return None


def mean_over_choices(results: Statistics, values: Tensor) -> Tensor:
    """``[batch, head]``: mean of ``values [batch, head, query]`` over the queries that see at least two keys."""
    return results.mean_over_queries(values, choosing=True)
