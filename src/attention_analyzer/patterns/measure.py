"""The strength of every pattern in every head, beside what chance and position alone would give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import moved_needs, moved_results, token_context_of, with_moves
from attention_analyzer.site import Site
from attention_analyzer.stats import SMALLEST_SPREAD
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Reduction, Statistics
from attention_analyzer.weights.scores import ScoreSource

#: A mean over fewer queries has no standard error worth the name.
FEWEST_QUERIES = 5


@dataclass(frozen=True)
class Strengths:
    """All patterns of one site: ``[pattern, head]`` of one text, ``[pattern, text, head]`` of a batch.

    Attributes:
        patterns: those that have a meaning here.
        strength: float64; NaN where undefined.
        chance: what the strength would be if every query spread its weight evenly over what it sees (the expectation
            of shuffling each row); NaN for patterns that are about spread itself.
        position: the position-matched control; NaN for patterns that have none.
        places: where the attention goes, for patterns that do not say it by their name: see :meth:`.Pattern.places`.
        error: the standard error of the strength, each query one draw; NaN for patterns that are no mean over queries,
            and where it was not asked for.
    """

    patterns: tuple[Pattern, ...]
    strength: Tensor
    chance: Tensor
    position: Tensor
    places: Mapping[str, Tensor] = field(default_factory=dict)
    error: Tensor | None = None

    @property
    def corrected(self) -> Tensor:
        """The strength, corrected for the stronger of the two controls; see :func:`corrected_for`."""
        return corrected_for(self.strength, torch.fmax(self.chance, self.position))

    def of_text(self, text: int) -> Strengths:
        """One text of a batch."""
        strength, chance, position = (part[:, text] for part in (self.strength, self.chance, self.position))
        places = {name: found[text] for name, found in self.places.items()}
        error = None if self.error is None else self.error[:, text]
        return Strengths(self.patterns, strength, chance, position, places, error)

    def as_batch(self) -> Strengths:
        """The inverse of :meth:`of_text`, for one text."""
        strength, chance, position = (part[:, None] for part in (self.strength, self.chance, self.position))
        places = {name: found[None] for name, found in self.places.items()}
        error = None if self.error is None else self.error[:, None]
        return Strengths(self.patterns, strength, chance, position, places, error)


def corrected_for(strength: Tensor, control: Tensor) -> Tensor:
    """``(strength - control) / (1 - control)``: 0 is what the control gives, 1 the most there can be (as Cohen's κ).

    The strength itself where there is no control (NaN); 0 where the control alone gives 1.
    """
    share = torch.where(control < 1 - 1e-6, (strength - control) / (1 - control), 0)
    return torch.where(control.isnan(), strength, share)


def measure_record(record: CapturedAttention, patterns: Sequence[Pattern] = PATTERNS) -> list[tuple[Site, Strengths]]:
    """Strengths and controls of every site, one pass each, in memory linear in the text."""
    if patterns is PATTERNS:
        return list(record.once("pattern strengths", lambda: _measured(record, patterns)))
    return _measured(record, patterns)


def _measured(record: CapturedAttention, patterns: Sequence[Pattern]) -> list[tuple[Site, Strengths]]:
    found = []
    for entry in record.entries:
        frame = token_context_of(entry.queries, entry.keys, entry.diagonal)
        found.append((entry.site, measure_weights(entry.weights, frame, patterns)))
    return found


def measure_weights(
    weights: AttentionWeights, frame: TokenContext, patterns: Sequence[Pattern] = PATTERNS
) -> Strengths:
    """Strengths and controls of one text at one site, ``[pattern, head]``."""
    return measure_batch(weights, with_moves(frame), patterns, with_error=True).of_text(0)


def measure_batch(
    weights: AttentionWeights,
    frame: TokenContext,
    patterns: Sequence[Pattern] = PATTERNS,
    *,
    valid: Tensor | None = None,
    key_valid: Tensor | None = None,
    with_error: bool = False,
) -> Strengths:
    """Strengths and controls of several texts at one site, ``[pattern, text, head]``.

    Args:
        weights: of a padded batch.
        frame: with moved copies, such as :func:`.frame.batched_token_context` gives.
        valid: bool ``[text, query]``, False for padding; ``key_valid`` the same for keys.
        with_error: whether to take the strengths' standard errors over queries, too.
    """

    def gather(weights: AttentionWeights, frame: TokenContext, chosen: Sequence[Pattern]) -> Statistics:
        return gathered(weights, frame, chosen, valid=valid, key_valid=key_valid)

    chosen = tuple(each for pattern in patterns if (each := pattern.fitting(frame)) is not None)
    results = gather(weights, frame, chosen)
    found = strengths_from(results, chosen, frame.moves, even_strengths(weights, frame, chosen, gather))
    return replace(found, error=_errors(results, chosen, found.strength)) if with_error else found


def even_strengths(
    weights: AttentionWeights,
    frame: TokenContext,
    patterns: Sequence[Pattern],
    gather: Callable[[AttentionWeights, TokenContext, Sequence[Pattern]], Statistics],
) -> dict[str, Tensor]:
    """What evenly spread weights would give, ``[text, head or 1]`` by name: it depends on the text alone."""
    chosen = [pattern for pattern in patterns if pattern.has_chance]
    results = gather(even_weights(weights), replace(frame, moves=0), chosen)
    return {pattern.name: pattern.strength(results).double() for pattern in chosen}


def strengths_from(
    results: Statistics, patterns: tuple[Pattern, ...], moves: int, chance: Mapping[str, Tensor]
) -> Strengths:
    """Strengths and controls from the results of one pass (see :func:`gathered`) and the levels of chance."""
    shape = (results.axes.batch, results.axes.heads)
    blank = torch.full(shape, torch.nan, dtype=torch.float64, device=results.valid.device)

    def filled(values: Tensor | None) -> Tensor:
        return blank if values is None else values.to(blank).expand_as(blank)

    def stacked(parts: list[Tensor | None]) -> Tensor:
        return torch.stack([filled(part) for part in parts]).cpu() if parts else blank[None][:0].cpu()

    strength = stacked([pattern.strength(results) for pattern in patterns])
    levels = stacked([chance.get(pattern.name) for pattern in patterns])
    position = stacked([position_matched(pattern, results, moves) for pattern in patterns])
    places = {pattern.name: found.cpu() for pattern in patterns if (found := pattern.places(results)) is not None}
    return Strengths(patterns, strength, levels, position, places)


def _errors(results: Statistics, patterns: Sequence[Pattern], strength: Tensor) -> Tensor:
    """``[pattern, text, head]``: standard errors of means over queries; the spread is never taken to be below
    :data:`SMALLEST_SPREAD`, since weights that agree by construction say nothing of the next query.
    """
    found = torch.full_like(strength, torch.nan)
    for number, pattern in enumerate(patterns):
        values = pattern.values(results)
        if values is None:
            continue
        counted = results.choosing & ~values.isnan()
        size = counted.sum(-1)
        away = (values.double().cpu() - strength[number][..., None]).masked_fill(~counted.cpu(), 0)
        spread = (away.square().sum(-1) / (size.cpu() - 1).clamp(min=1)).sqrt().clamp(min=SMALLEST_SPREAD)
        found[number] = (spread / size.cpu().sqrt()).masked_fill(size.cpu() < FEWEST_QUERIES, torch.nan)
    return found


def gathered(
    weights: AttentionWeights,
    frame: TokenContext,
    patterns: Sequence[Pattern],
    *,
    also: Iterable[Reduction] = (),
    valid: Tensor | None = None,
    key_valid: Tensor | None = None,
) -> Statistics:
    """What these patterns need of the weights, for the frame's own and its moved groups and labels.

    Args:
        also: what else is gathered in the same pass.
    """
    device = weights.empty().device
    return weights.reduce(
        list(dict.fromkeys([*also, *needs_of_patterns(patterns, frame.moves)])),
        diagonal=frame.diagonal,
        groups={name: flags.to(device) for name, flags in frame.groups.items()},
        labels={name: (left.to(device), right.to(device)) for name, (left, right) in frame.labels.items()},
        valid=valid,
        key_valid=key_valid,
    )


def needs_of_patterns(patterns: Sequence[Pattern], moves: int) -> list[Reduction]:
    """What these patterns need, for a frame's own and its moved groups and labels; each once."""
    needs = dict.fromkeys(need for pattern in patterns for need in pattern.needs)
    moving = dict.fromkeys(need for pattern in patterns if pattern.moves for need in pattern.needs)
    return list(dict.fromkeys([*needs, *moved_needs(moving, moves)]))


def even_weights(weights: AttentionWeights) -> AttentionWeights:
    """Weights spread evenly over the keys that each query sees; one head, unless heads see different keys."""
    seen = weights.visibility
    heads = weights.heads if seen.differs_by_head else 1
    nothing = [torch.zeros(weights.batch, heads, size, 1) for size in (weights.queries, weights.keys)]
    return QueryKeyWeights(ScoreSource(nothing[0], nothing[1], 1.0, replace(seen).to("cpu")))


def position_matched(pattern: Pattern, results: Statistics, moves: int) -> Tensor | None:
    """The position-matched control ``[text, head]``; None for a pattern that has none."""
    if not pattern.moves:
        return pattern.beside(results)
    if not moves:
        return None
    moved = torch.stack([pattern.strength(moved_results(results, number)) for number in range(1, moves + 1)])
    return moved.nanmean(0)
