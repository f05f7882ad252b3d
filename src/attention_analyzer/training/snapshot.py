"""One moment of a history: what every head does on the probes, measured inside one forward each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.metrics.chosen import chosen_metrics
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.measure import even_strengths, gathered, strengths_from
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.recording import run
from attention_analyzer.text.padding import valid_of
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.training.probes import ON_REPEATS, Probe, probes_for
from attention_analyzer.weights.base import AttentionWeights

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
        self.metrics, self.patterns = chosen_metrics(metrics), tuple(patterns)
        lengths = [len(tokens) for tokens in self.probes[0].prepared.source]
        self.kept_text = int(np.argmin(lengths)) if keep_patterns else None
        self._even: dict[tuple[str, str], dict[str, Tensor]] = {}
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
        for probe in self.probes:

            def keep(place: CallSite, weights: AttentionWeights, probe: Probe = probe) -> dict[str, Any]:
                return self._columns(probe, place, weights)

            forward = run(loaded, probe.prepared, keep=keep, check=not self._checked)
            rows = [
                pd.DataFrame(
                    {"stack": site.stack, "kind": site.kind, "layer": site.layer, "head": range(site.heads)} | columns
                )
                for site, columns in forward.sites
            ]
            frames.append(pd.concat(rows, ignore_index=True))
        self._checked = True
        keys = ["stack", "kind", "layer", "head"]
        whole = frames[0]
        for more in frames[1:]:
            whole = whole.merge(more, on=keys, how="left", validate="one_to_one")
        return whole

    def _columns(self, probe: Probe, place: CallSite, weights: AttentionWeights) -> dict[str, Any]:
        frame = probe.frame(place.stack, place.kind)
        on_repeats = probe.name == "repeats"
        fitting = tuple(
            each
            for pattern in self.patterns
            if (pattern.name in ON_REPEATS) == on_repeats and (each := pattern.fitting(frame)) is not None
        )
        metrics = () if on_repeats else self.metrics
        queries, keys = probe.prepared.axes(place.stack, place.kind)
        gather = partial(gathered, valid=valid_of(queries), key_valid=valid_of(keys))
        # A frame leaves out groups that no token is in, so that no pattern is about them; metrics want them all.
        nobody = torch.zeros(1, weights.keys, dtype=torch.bool)
        whole = replace(frame, groups=dict.fromkeys(keys[0].groups(), nobody) | dict(frame.groups))
        results = gather(weights, whole, fitting, also=needs_of(metrics))
        if (probe.name, place.path) not in self._even:  # it depends on nothing that training changes
            self._even[probe.name, place.path] = even_strengths(weights, frame, fitting, gather)
        found = strengths_from(results, fitting, frame.moves, self._even[probe.name, place.path])
        columns: dict[str, Any] = {name: _mean(value) for name, value in evaluate(results, metrics).items()}
        for number, pattern in enumerate(fitting):
            columns[pattern.name] = _mean(found.strength[number])
            columns[f"{pattern.name}_error"] = _error(found.strength[number])
            control = torch.fmax(_mean(found.chance[number]), _mean(found.position[number]))
            if not bool(control.isnan().all()):
                columns[f"{pattern.name}_control"] = control
        columns = {name: values.numpy() for name, values in columns.items()}
        if not on_repeats and self.kept_text is not None:
            columns |= self._kept(probe, place, weights)
        return columns

    def _kept(self, probe: Probe, place: CallSite, weights: AttentionWeights) -> dict[str, Any]:
        """Each head's pattern of the shortest text as float16, cut to :data:`KEPT_TOKENS`."""
        assert self.kept_text is not None
        queries, keys = (len(axis[self.kept_text]) for axis in probe.prepared.axes(place.stack, place.kind))
        tile = weights.tile(self.kept_text, slice(0, weights.heads), slice(0, min(queries, KEPT_TOKENS)))
        shown = tile[..., : min(keys, KEPT_TOKENS)].half().cpu().numpy()
        return {"pattern": [head.tobytes() for head in shown], "pattern_queries": shown.shape[1]}


def _mean(values: Tensor) -> Tensor:
    """float64 ``[head]``: mean over the texts that say something, from ``[text, head]``."""
    return values.double().nanmean(0).cpu()


def _error(values: Tensor) -> Tensor:
    """float64 ``[head]``: standard error of :func:`_mean`; NaN where fewer than two texts say something."""
    values = values.double()
    known = (~values.isnan()).sum(0)
    squares = (values - values.nanmean(0)).square().nansum(0)
    return (squares / (known - 1).clamp(min=1) / known.clamp(min=1)).sqrt().masked_fill(known < 2, torch.nan).cpu()
