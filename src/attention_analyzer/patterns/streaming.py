"""Strengths of many texts: measured inside the forward, batch by batch, so that no query or key outlives its call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.measure import Strengths, measure_batch, measure_record
from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import batched_token_context
from attention_analyzer.recording import run
from attention_analyzer.run.axes import check_axes
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights

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
    measure = measuring(prepared, patterns, labels)
    found = run(loaded, prepared, keep=lambda place, weights: measure(place.stack, place.kind, weights))
    return [Measured(site, *kept) for site, kept in found.sites]


def measuring(
    prepared: Prepared, patterns: Sequence[Pattern] = PATTERNS, labels: Labels | None = None
) -> Callable[[str, Kind, AttentionWeights], tuple[Strengths, tuple[Tokens, ...]]]:
    """What measures one site of a prepared batch: called with its stack, kind and weights; see :class:`Measured`."""
    frames: dict[tuple[str, Kind], TokenContext] = {}

    def measure(stack: str, kind: Kind, weights: AttentionWeights) -> tuple[Strengths, tuple[Tokens, ...]]:
        check_axes(prepared, stack, kind, weights)
        queries, keys = prepared.axes(stack, kind)
        at = (stack, kind)
        if at not in frames:
            frame = batched_token_context(queries, keys, None if kind == "cross" else 0)
            frames[at] = replace(frame, labels={**frame.labels, **(labels or {})})
        return measure_batch(weights, frames[at], patterns, valid=valid_of(queries), key_valid=valid_of(keys)), keys

    return measure


def measured(record: CapturedAttention, patterns: Sequence[Pattern] = PATTERNS) -> list[Measured]:
    """The same of a record, as a batch of one text."""
    pairs = zip(record.entries, measure_record(record, patterns), strict=True)
    return [Measured(entry.site, strengths.as_batch(), (entry.keys,)) for entry, (_, strengths) in pairs]
