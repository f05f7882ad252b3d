"""What a scan measures of every head of every text: all metrics and the strengths of all patterns, in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared
from attention_analyzer.metrics import METRICS
from attention_analyzer.patterns.mixed import Mixed
from attention_analyzer.patterns.pattern import TokenContext
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import labels_of, padded_labels
from attention_analyzer.site import Kind
from attention_analyzer.text.padding import padded_groups, valid_of
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.reductions import LargestWeight, Reduction, Statistics, StrongestKey

#: Patterns that any text may show; those that ask for a text made for them (labels of their own) are left out.
_PATTERNS = tuple(pattern for pattern in PATTERNS if not pattern.labels)
#: Names in the order of the last axis of values.
MEASURES: tuple[str, ...] = (*(metric.name for metric in METRICS), *(pattern.name for pattern in _PATTERNS))


@dataclass(frozen=True)
class SiteValues:
    """One site's numbers for a padded batch.

    Attributes:
        values: float32 ``[text, head, measure]``, NaN where a measure has no meaning.
        strongest: int64 ``[text, head, query]``, the key each query looks at most; -1 for padding and blind queries.
        largest: float32 ``[text, head, query]``, the weight on it.
        plain: bool ``([text, query], [text, key])``, tokens that are neither special nor padding.
        of_text: whether both axes show the main text.
    """

    values: Tensor
    strongest: Tensor
    largest: Tensor
    plain: tuple[Tensor, Tensor]
    of_text: bool


@dataclass
class BatchMeasurer:
    """Reduces every site of one prepared batch inside the forward; sites with the same axes share their frame."""

    prepared: Prepared
    device: torch.device
    _axes: dict[tuple[str, Kind], _SiteAxes] = field(default_factory=dict)

    def keep(self, place: CallSite, weights: AttentionWeights) -> SiteValues:
        """Raises UnsupportedModelError for a site whose axes do not follow the tokens."""
        axes = self._of(place.stack, place.kind)
        if weights.shape[1:] != (axes.valid.shape[1], axes.key_valid.shape[1]):
            raise UnsupportedModelError(
                f"{place.path} has {weights.queries} queries and {weights.keys} keys for texts of up to "
                f"{axes.valid.shape[1]} tokens; pooled or widened sequences cannot be scanned: use record(text)."
            )
        patterns = [pattern.fitting(axes.frame) for pattern in _PATTERNS]
        needs: dict[Reduction, None] = dict.fromkeys([StrongestKey(), LargestWeight()])
        for each in (*METRICS, *patterns):
            needs |= dict.fromkeys(each.needs if each is not None else ())
        statistics = weights.reduce(
            list(needs),
            diagonal=axes.frame.diagonal,
            groups=axes.frame.groups,
            labels=axes.frame.labels,
            valid=axes.valid,
            key_valid=axes.key_valid,
        )
        found = [metric.value(statistics) for metric in METRICS]
        nothing = torch.full_like(found[0], torch.nan)
        strengths: list[Tensor] = []
        for pattern in patterns:
            if pattern is None:
                strengths.append(nothing)
            elif isinstance(pattern, Mixed):
                strengths.append(pattern.left_over(strengths))  # what the others are is known by now
            else:
                strengths.append(pattern.strength(statistics))
        found += strengths
        strongest, largest = _looks(statistics)
        values = torch.stack([each.expand_as(nothing) for each in found], -1).float().cpu()
        return SiteValues(values, strongest, largest, axes.plain, axes.of_text)

    def _of(self, stack: str, kind: Kind) -> _SiteAxes:
        queries, keys = self.prepared.axes(stack, kind)
        for known in self._axes.values():
            if known.queries is queries and known.keys is keys and known.kind == kind:
                return known
        of_text = queries is keys is self.prepared.source
        made = self._axes[stack, kind] = _SiteAxes.of(queries, keys, kind, of_text, self.device)
        return made


@dataclass(frozen=True)
class _SiteAxes:
    queries: tuple[Tokens, ...]
    keys: tuple[Tokens, ...]
    kind: Kind
    of_text: bool
    frame: TokenContext
    valid: Tensor
    key_valid: Tensor
    plain: tuple[Tensor, Tensor]

    @classmethod
    def of(
        cls, queries: tuple[Tokens, ...], keys: tuple[Tokens, ...], kind: Kind, of_text: bool, device: torch.device
    ) -> _SiteAxes:
        diagonal = None if kind == "cross" else 0
        # Metrics ask for every group, also for those that no text of the batch has.
        groups = padded_groups(keys, device)
        of_texts = [labels_of(*pair, diagonal) for pair in zip(queries, keys, strict=True)]
        labels = padded_labels(of_texts, (max(map(len, queries)), max(map(len, keys))))
        frame = TokenContext(diagonal, groups, {name: (q.to(device), k.to(device)) for name, (q, k) in labels.items()})
        valid, key_valid = valid_of(queries).to(device), valid_of(keys).to(device)
        plain_keys = key_valid & ~groups["special"]
        plain = plain_keys if queries is keys else valid & ~padded_groups(queries, device)["special"]
        return cls(queries, keys, kind, of_text, frame, valid, key_valid, (plain.cpu(), plain_keys.cpu()))


def _looks(statistics: Statistics) -> tuple[Tensor, Tensor]:
    strongest, largest = statistics[StrongestKey()], statistics[LargestWeight()]
    blind = ~statistics.valid.expand_as(strongest) | strongest.isnan()
    strongest = torch.where(blind, -1, strongest.nan_to_num(-1)).long()
    return strongest.cpu(), torch.where(blind, 0, largest).float().cpu()
