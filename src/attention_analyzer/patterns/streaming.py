"""Strengths of many texts: measured inside the forward, batch by batch, so that no query or key outlives its call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.measure import (
    Strengths,
    even_strengths,
    gathered,
    measure_record,
    needs_of_patterns,
    strengths_from,
)
from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import batched_token_context
from attention_analyzer.run.needs import Needs
from attention_analyzer.run.runner import measured_sites
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.reductions import Statistics
from attention_analyzer.weights.visibility import Visibility

#: Further labels of a batch's queries and keys, as in :class:`.reductions.Axes`.
Labels = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Measured:
    """One site in a batch of texts.

    Attributes:
        strengths: ``[pattern, text, head]``.
        keys: per text the tokens on the key axis.
    """

    site: Site
    strengths: Strengths
    keys: tuple[Tokens, ...]


def measure_prepared(
    loaded: LoadedModel, prepared: Prepared, patterns: Sequence[Pattern] = PATTERNS, labels: Labels | None = None
) -> list[Measured]:
    """Strengths and controls of one prepared batch.

    Args:
        labels: beside those of :func:`.frame.token_context_of`.
    """
    return [
        Measured(site, *kept) for site, kept in measured_sites(loaded, prepared, measuring(prepared, patterns, labels))
    ]


def measuring(
    prepared: Prepared, patterns: Sequence[Pattern] = PATTERNS, labels: Labels | None = None
) -> Callable[[str, Kind, AttentionWeights], Needs]:
    """What measures one site of a prepared batch: called with its stack, kind and weights; it keeps strengths and the
    tokens on the key axis, as in :class:`Measured`.
    """
    frames: dict[tuple[str, Kind], TokenContext] = {}
    chances: dict[Hashable, tuple[Visibility, dict[str, Tensor]]] = {}

    def measure(stack: str, kind: Kind, weights: AttentionWeights) -> Needs:
        queries, keys = prepared.axes(stack, kind)
        at = (stack, kind)
        if at not in frames:
            frame = batched_token_context(queries, keys, None if kind == "cross" else 0)
            frames[at] = replace(frame, labels={**frame.labels, **(labels or {})})
        frame = frames[at]
        chosen = tuple(each for pattern in patterns if (each := pattern.fitting(frame)) is not None)
        gather = partial(gathered, valid=valid_of(queries), key_valid=valid_of(keys))
        # What evenly spread weights would give depends on the text and on what is visible, which most layers share.
        seen = weights.visibility
        same = (*at, seen.identity, weights.heads if seen.differs_by_head else 1)
        if same not in chances:
            chances[same] = seen, even_strengths(weights, frame, chosen, gather)
        chance = chances[same][1]

        def strengths(results: Statistics) -> tuple[Strengths, tuple[Tokens, ...]]:
            return strengths_from(results, chosen, frame.moves, chance), keys

        needs = needs_of_patterns(chosen, frame.moves)
        return Needs(needs, strengths, frame.diagonal, frame.groups, frame.labels)

    return measure


def measured(record: CapturedAttention, patterns: Sequence[Pattern] = PATTERNS) -> list[Measured]:
    """The same of a record, as a batch of one text."""
    pairs = zip(record.entries, measure_record(record, patterns), strict=True)
    return [Measured(entry.site, strengths.as_batch(), (entry.keys,)) for entry, (_, strengths) in pairs]
