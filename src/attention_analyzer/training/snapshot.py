"""One moment of a history: what every head does on the probes, measured inside one forward each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.inputs import Prepared
from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.metrics.chosen import chosen_metrics
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.measure import even_strengths, gathered, needs_of_patterns, strengths_from
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.run.needs import Needs
from attention_analyzer.run.runner import take_prepared
from attention_analyzer.run.state import Array, State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study
from attention_analyzer.site import Kind, Site
from attention_analyzer.stats import mean_over_texts
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.training.probes import ON_REPEATS, Probe, probes_for
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.reductions import Statistics

#: Tokens of the shortest probe text whose whole patterns are kept.
KEPT_TOKENS = 32


class Measuring:
    """The probes of one model and what is the same at every moment: inputs, groups, labels, chance levels.

    Args:
        loaded: any state of the model; only its tokenizer and sizes matter here.
        texts: the probe texts; :data:`.probes.TEXTS` by default.
        keep_patterns: whether the patterns of the shortest text are kept.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        texts: Sequence[str | Pair] | None = None,
        *,
        metrics: Sequence[Metric | str] = METRICS,
        patterns: Sequence[Pattern] = PATTERNS,
        keep_patterns: bool = True,
    ) -> None:
        self.probes = probes_for(loaded, texts)
        lengths = [len(tokens) for tokens in self.probes[0].prepared.source]
        self.kept_text = int(np.argmin(lengths)) if keep_patterns else None
        self.studies = []
        for probe in self.probes:
            on_repeats = probe.name == "repeats"
            own = tuple(pattern for pattern in patterns if (pattern.name in ON_REPEATS) == on_repeats)
            # No metrics at all are a choice here: a history of patterns alone.
            none = on_repeats or not len(metrics)
            study = ProbeStudy(probe, own, () if none else chosen_metrics(metrics))
            self.studies.append(study if on_repeats else replace(study, kept_text=self.kept_text))
        self._checked = False

    @property
    def kept_tokens(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What the kept patterns' axes show: pieces of the text and, for two stacks, of the decoder's text."""
        if self.kept_text is None:
            return (), ()
        prepared = self.probes[0].prepared
        target = () if prepared.target is None else prepared.target[self.kept_text].pieces[:KEPT_TOKENS]
        return prepared.source[self.kept_text].pieces[:KEPT_TOKENS], target

    def table(self, loaded: LoadedModel) -> pd.DataFrame:
        """One row per head: ``stack, kind, layer, head``, metrics, strengths, controls and the kept pattern.

        The first forward of each probe is checked against the model's own outputs; later ones are not, to be cheap.

        Raises:
            CaptureError: the weights do not reproduce the model's outputs, or hold NaN.
        """
        frames = []
        for study in self.studies:
            prepared = study.probe.prepared
            numbers = tuple(range(len(prepared.source)))
            taken = take_prepared(loaded, numbers, prepared, [study], check=not self._checked)
            frames.append(study.result(loaded, taken.states[0]))
        keys = ["stack", "kind", "layer", "head"]
        whole = frames[0]
        for more in frames[1:]:
            whole = whole.merge(more, on=keys, how="left", validate="one_to_one")
        return whole


@dataclass(frozen=True)
class ProbeStudy(Study[pd.DataFrame]):
    """What every head does on one kind of probe texts. The state has metrics, strengths and controls per text.

    Attributes:
        probe: the texts, which the run must be over.
        patterns, metrics: what is measured.
        kept_text: the text whose patterns are kept, or None.
    """

    probe: Probe
    patterns: tuple[Pattern, ...]
    metrics: tuple[Metric, ...]
    kept_text: int | None = None
    _even: dict[tuple[str, Kind, int], dict[str, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        # Sites are told apart by their order: it is the same at every step.
        order = count()
        groups: dict[tuple[str, Kind], dict[str, Tensor]] = {}

        def measure(stack: str, kind: Kind, weights: AttentionWeights) -> Needs:
            frame = self.probe.frame(stack, kind)
            fitting = tuple(each for pattern in self.patterns if (each := pattern.fitting(frame)) is not None)
            queries, keys = prepared.axes(stack, kind)
            at = (stack, kind, next(order))
            if at not in self._even:  # it depends on nothing that training changes
                gather = partial(gathered, valid=valid_of(queries), key_valid=valid_of(keys))
                self._even[at] = even_strengths(weights, frame, fitting, gather)
            kept = self._kept(prepared, stack, kind, weights)

            def columns(results: Statistics) -> dict[str, Array]:
                found = strengths_from(results, fitting, frame.moves, self._even[at])
                values = dict(evaluate(results, self.metrics))
                for number, pattern in enumerate(fitting):
                    values[pattern.name] = found.strength[number]
                    for name in ("chance", "position"):
                        values[f"{pattern.name}/{name}"] = getattr(found, name)[number]
                return {name: each.double().cpu().numpy() for name, each in values.items()} | kept

            if (stack, kind) not in groups:
                # A frame leaves out groups that no token is in, so no pattern is about them; metrics want them all.
                nobody = torch.zeros(1, weights.keys, dtype=torch.bool)
                groups[stack, kind] = dict.fromkeys(keys[0].groups(), nobody) | dict(frame.groups)
            wanted = dict.fromkeys([*needs_of(self.metrics), *needs_of_patterns(fitting, frame.moves)])
            return Needs(tuple(wanted), columns, frame.diagonal, groups[stack, kind], frame.labels)

        return measure

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        arrays = {f"{site.name}/{name}": each for site, columns in batch.sites for name, each in columns.items()}
        return State(len(batch.numbers), tuple(site for site, _ in batch.sites), arrays)

    def result(self, loaded: LoadedModel, state: State) -> pd.DataFrame:
        return pd.concat([self._table(site, state) for site in state.sites], ignore_index=True)

    def _table(self, site: Site, state: State) -> pd.DataFrame:
        prefix = f"{site.name}/"
        own = {name.removeprefix(prefix): each for name, each in state.arrays.items() if name.startswith(prefix)}
        columns: dict[str, Any] = {metric.name: mean_over_texts(own[metric.name]) for metric in self.metrics}
        for name in (each.name for each in self.patterns if each.name in own):
            columns[name], columns[f"{name}_error"] = mean_over_texts(own[name]), _error(own[name])
            control = np.fmax(*(mean_over_texts(own[f"{name}/{which}"]) for which in ("chance", "position")))
            if not np.isnan(control).all():
                columns[f"{name}_control"] = control
        if "pattern" in own:
            kept = own["pattern"][0]
            columns |= {"pattern": [head.tobytes() for head in kept], "pattern_queries": kept.shape[1]}
        place = {"stack": site.stack, "kind": site.kind, "layer": site.layer, "head": range(site.heads)}
        return pd.DataFrame(place | columns)

    def _kept(self, prepared: Prepared, stack: str, kind: Kind, weights: AttentionWeights) -> dict[str, Array]:
        """Each head's pattern of the kept text as float16 ``[1, head, query, key]``, cut to :data:`KEPT_TOKENS`."""
        if self.kept_text is None:
            return {}
        queries, keys = (len(axis[self.kept_text]) for axis in prepared.axes(stack, kind))
        tile = weights.tile(self.kept_text, slice(0, weights.heads), slice(0, min(queries, KEPT_TOKENS)))
        return {"pattern": tile[..., : min(keys, KEPT_TOKENS)].half().cpu().numpy()[None]}


def _error(values: Array) -> Array:
    """Standard error ``[head]`` of the mean over those texts ``[text, head]`` that have a value; NaN without two."""
    known = (~np.isnan(values)).sum(0)
    squares = np.nansum((values - mean_over_texts(values)) ** 2, axis=0)
    error = np.sqrt(squares / np.maximum(known - 1, 1) / np.maximum(known, 1))
    return np.where(known < 2, np.nan, error)
