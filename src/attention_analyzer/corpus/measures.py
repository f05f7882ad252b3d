"""What a scan measures of every head of every text: all metrics and the strengths of all patterns, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.mixed import Mixed
from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import labels_of, padded_labels
from attention_analyzer.run.needs import Needs
from attention_analyzer.run.state import Array, State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study
from attention_analyzer.site import Kind
from attention_analyzer.stats import mean_over_texts
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


@dataclass(frozen=True)
class Measures(Study[pd.DataFrame]):
    """Every measure of every head, and where it looks most; a corpus scan keeps its summary of the states.

    The state has, of all heads of all sites in their order, ``values [text, head, measure]`` (float32) and the
    strongest pair of plain tokens of each text: ``pair weight [text, head]``, NaN without one, and its query and key,
    ``pair place [text, head, 2]``. With links it has, of the sites that show the main text, every token's strongest
    key and the weight on it, ``strongest`` and ``largest [token of all texts, head]`` (uint16 and float16).

    Attributes:
        links: whether strongest keys are kept.
    """

    links: bool = False

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        axes = BatchAxes(prepared, loaded.device)

        def measure(stack: str, kind: Kind, _weights: AttentionWeights) -> Needs:
            own = axes.of(stack, kind)
            frame = own.frame
            patterns = [pattern.fitting(frame) for pattern in _PATTERNS]
            needs: dict[Reduction, None] = dict.fromkeys([StrongestKey(), LargestWeight()])
            for each in (*METRICS, *patterns):
                needs |= dict.fromkeys(each.needs if each is not None else ())
            return Needs(tuple(needs), partial(_site_values, own, patterns), frame.diagonal, frame.groups, frame.labels)

        return measure

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        if batch.prepared is None:
            raise UnsupportedModelError(
                f"{loaded.name} pools or widens its sequences; such attention cannot be scanned: use record(text)."
            )
        found = [values for _, values in batch.sites]
        pairs = [strongest_pairs(values) for values in found]
        arrays: dict[str, Array] = {
            "values": torch.cat([values.values for values in found], 1).numpy(),
            "pair weight": torch.cat([weight for weight, _ in pairs], 1).numpy(),
            "pair place": torch.cat([place for _, place in pairs], 1).int().numpy(),
        }
        searched = [values for values in found if values.of_text] if self.links else []
        if searched:
            valid = batch.prepared.valid
            strongest = torch.cat([values.strongest for values in searched], 1).clamp(min=0)
            largest = torch.cat([values.largest for values in searched], 1).half()
            arrays["strongest"] = strongest.transpose(1, 2)[valid].numpy().astype(np.uint16)
            arrays["largest"] = largest.transpose(1, 2)[valid].numpy()
        return State(len(batch.numbers), tuple(site for site, _ in batch.sites), arrays)

    def result(self, loaded: LoadedModel, state: State) -> pd.DataFrame:
        """One row per head, ``stack, kind, layer, head``, with the mean of every measure over texts."""
        rows = [(site.stack, site.kind, site.layer, head) for site in state.sites for head in range(site.heads)]
        values = state.arrays["values"].astype(np.float64)
        means = mean_over_texts(values.reshape(len(values), -1)).reshape(values.shape[1:])
        heads = pd.DataFrame(rows, columns=["stack", "kind", "layer", "head"])
        return pd.concat([heads, pd.DataFrame(means, columns=list(MEASURES))], axis=1)


def _site_values(axes: _SiteAxes, patterns: Sequence[Pattern | None], statistics: Statistics) -> SiteValues:
    found = list(evaluate(statistics, METRICS).values())
    nothing = torch.full_like(found[0], torch.nan)
    strengths: list[Tensor] = []
    for pattern in patterns:
        if pattern is None:
            strengths.append(nothing)
        elif isinstance(pattern, Mixed):
            strengths.append(pattern.left_over(strengths))  # what the others are is known by now
        else:
            strengths.append(pattern.strength(statistics))
    strongest, largest = _looks(statistics)
    values = torch.stack([each.expand_as(nothing) for each in (*found, *strengths)], -1).float().cpu()
    return SiteValues(values, strongest, largest, axes.plain, axes.of_text)


def strongest_pairs(site: SiteValues) -> tuple[Tensor, Tensor]:
    """Per text and head the query whose strongest key has the most weight, neither of them special.

    Returns:
        The weight ``[text, head]``, NaN where there is no such pair, and query and key ``[text, head, 2]``.
    """
    plain, plain_keys = site.plain
    looks = site.strongest.clamp(min=0)
    at_plain = plain_keys[:, None].expand(-1, looks.shape[1], -1).gather(-1, looks)
    counts = plain[:, None] & at_plain & (site.strongest >= 0)
    weight, query = site.largest.masked_fill(~counts, -1).max(-1)
    key = looks.gather(-1, query[..., None])[..., 0]
    return weight.masked_fill(weight < 0, torch.nan), torch.stack([query, key], -1)


@dataclass
class BatchAxes:
    """The axes of a prepared batch's sites; sites with the same axes share their groups and labels."""

    prepared: Prepared
    device: torch.device
    _axes: dict[tuple[str, Kind], _SiteAxes] = field(default_factory=dict)

    def of(self, stack: str, kind: Kind) -> _SiteAxes:
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
        return cls(queries, keys, kind, of_text, frame, (plain.cpu(), plain_keys.cpu()))


def _looks(statistics: Statistics) -> tuple[Tensor, Tensor]:
    strongest, largest = statistics[StrongestKey()], statistics[LargestWeight()]
    blind = ~statistics.valid.expand_as(strongest) | strongest.isnan()
    strongest = torch.where(blind, -1, strongest.nan_to_num(-1)).long()
    return strongest.cpu(), torch.where(blind, 0, largest).float().cpu()
