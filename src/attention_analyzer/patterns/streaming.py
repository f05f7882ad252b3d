"""Strengths of many texts: measured inside the forward, batch by batch, so that no query or key outlives its call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.measure import Strengths, measure_batch, measure_record
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import batched_token_context
from attention_analyzer.recording import BATCH, batches, record_texts, run
from attention_analyzer.site import Site
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokenization import Pair
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


def measure_texts(
    loaded: LoadedModel,
    texts: Iterable[str | Pair],
    patterns: Sequence[Pattern] = PATTERNS,
    *,
    truncate: bool = False,
    batch_size: int = BATCH,
) -> Iterator[list[Measured]]:
    """Strengths and controls of every site, batch by batch, in memory linear in the longest text.

    Raises:
        InputError, TooLongError: a text cannot be used.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    for batch in batches(texts, batch_size):
        prepared = prepare(loaded, batch, truncate=truncate)
        try:
            yield measure_prepared(loaded, prepared, patterns)
        except _OtherAxesError:
            for text in batch:
                yield measured(record_texts(loaded, [text], truncate=truncate)[0], patterns)


def measure_prepared(
    loaded: LoadedModel, prepared: Prepared, patterns: Sequence[Pattern] = PATTERNS, labels: Labels | None = None
) -> list[Measured]:
    """Strengths and controls of one prepared batch.

    Args:
        labels: beside those of :func:`.frame.token_context_of`.
    """
    frames = {}

    def keep(place: CallSite, weights: AttentionWeights) -> tuple[Strengths, tuple[Tokens, ...]]:
        queries, keys = prepared.axes(place.stack, place.kind)
        if weights.shape[1:] != (max(map(len, queries)), max(map(len, keys))):
            raise _OtherAxesError(f"{place.path} pools or widens its sequence.")
        at = (place.stack, place.kind)
        if at not in frames:
            frame = batched_token_context(queries, keys, None if place.kind == "cross" else 0)
            frames[at] = replace(frame, labels={**frame.labels, **(labels or {})})
        found = measure_batch(weights, frames[at], patterns, valid=valid_of(queries), key_valid=valid_of(keys))
        return found, keys

    return [Measured(site, *kept) for site, kept in run(loaded, prepared, keep=keep).sites]


def measured(record: CapturedAttention, patterns: Sequence[Pattern] = PATTERNS) -> list[Measured]:
    """The same of a record, as a batch of one text."""
    pairs = zip(record.entries, measure_record(record, patterns), strict=True)
    return [Measured(entry.site, strengths.as_batch(), (entry.keys,)) for entry, (_, strengths) in pairs]


class _OtherAxesError(UnsupportedModelError):
    """A site's axes are not the padded tokens; where each text's padding went is unknown, so each must run alone."""
