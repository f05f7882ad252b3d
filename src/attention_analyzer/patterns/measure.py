"""The strength of every pattern in every head of one text, beside what chance and position alone would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_analyzer.patterns.frame import frame_of, moved_needs, moved_results, with_moves
from attention_analyzer.patterns.pattern import Frame, Pattern
from attention_analyzer.patterns.table import PATTERNS
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Statistics
from attention_analyzer.weights.scores import ScoreSource


@dataclass(frozen=True)
class Strengths:
    """All patterns of one site and text.

    Attributes:
        patterns: those that have a meaning here.
        strength: float64 ``[pattern, head]``; NaN where undefined.
        chance: what the strength would be if every query spread its weight evenly over what it sees (the expectation
            of shuffling each row); NaN for patterns that are about spread itself.
        position: the position-matched control; NaN for patterns that have none.
    """

    patterns: tuple[Pattern, ...]
    strength: Tensor
    chance: Tensor
    position: Tensor


def measure_record(record: AttentionRecord, patterns: Sequence[Pattern] = PATTERNS) -> list[tuple[Site, Strengths]]:
    """Strengths and controls of every site, one pass each, in memory linear in the text."""
    found = []
    for entry in record.entries:
        frame = frame_of(entry.queries, entry.keys, entry.diagonal)
        found.append((entry.site, measure_weights(entry.weights, frame, patterns)))
    return found


def measure_weights(weights: AttentionWeights, frame: Frame, patterns: Sequence[Pattern] = PATTERNS) -> Strengths:
    """Strengths and controls of one site's weights ``[head, query, key]``."""
    chosen = tuple(each for pattern in patterns if (each := pattern.fitting(frame)) is not None)
    even = gathered(even_weights(weights), frame, [pattern for pattern in chosen if pattern.has_chance])
    frame = with_moves(frame)
    results = gathered(weights, frame, chosen)
    strength, chance, position = [], [], []
    for pattern in chosen:
        own = pattern.strength(results)[0].double()
        blank = torch.full_like(own, torch.nan)
        strength.append(own)
        chance.append(pattern.strength(even)[0].double().expand_as(own) if pattern.has_chance else blank)
        control = _position_matched(pattern, results, frame.moves)
        position.append(blank if control is None else control[0].double())
    return Strengths(chosen, *(torch.stack(part).cpu() for part in (strength, chance, position)))


def gathered(weights: AttentionWeights, frame: Frame, patterns: Sequence[Pattern]) -> Statistics:
    """What these patterns need of the weights, for the frame's own and its moved groups and labels."""
    needs = dict.fromkeys(need for pattern in patterns for need in pattern.needs)
    moving = dict.fromkeys(need for pattern in patterns if pattern.moves for need in pattern.needs)
    wanted = [*needs, *moved_needs(moving, frame.moves)]
    return weights.reduce(wanted, diagonal=frame.diagonal, groups=frame.groups, labels=frame.labels)


def even_weights(weights: AttentionWeights) -> AttentionWeights:
    """Weights spread evenly over the keys that each query sees; one head, unless heads see different keys."""
    seen = weights.visibility
    heads = weights.heads if seen.differs_by_head else 1
    nothing = [torch.zeros(weights.batch, heads, size, 1) for size in (weights.queries, weights.keys)]
    return QueryKeyWeights(ScoreSource(nothing[0], nothing[1], 1.0, replace(seen).to("cpu")))


def _position_matched(pattern: Pattern, results: Statistics, moves: int) -> Tensor | None:
    if not pattern.moves:
        return pattern.beside(results)
    moved = torch.stack([pattern.strength(moved_results(results, number)) for number in range(1, moves + 1)])
    return moved.nanmean(0)
