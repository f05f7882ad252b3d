"""Which heads may bear a pattern's name: strengths over several texts, against controls, over all heads at once.

A head is labeled when its strength, corrected for the strongest of its controls, is credibly above the pattern's
threshold, at a level that is kept over all heads × patterns (Benjamini & Hochberg). The controls are evenly spread
weights, the same pattern in another place (:mod:`.frame`) and, where it was asked for, the same architecture untrained.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.deprecation import renamed_names
from attention_analyzer.errors import InputError, OnError, SelectionError, UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config
from attention_analyzer.patterns.evidence import Evidence, nearly_largest, state_of
from attention_analyzer.patterns.ov_copying import measure_copying
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.probes import needles, repeated_tokens
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.streaming import Measured, measure_prepared, measured, measuring
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import BATCH
from attention_analyzer.result import Basis, Result
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study, told_apart
from attention_analyzer.stats import benjamini_hochberg, bootstrap_interval, mean_over_texts, p_above
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts

if TYPE_CHECKING:
    pass

LEVEL = 0.05
FEWEST_TEXTS = 3
TEXTS, REPEATS, NEEDLES, VALUES = "texts", "repeated random tokens", "needles", "values of random tokens"
#: Patterns that natural text shows badly or not purely, and what they are measured on: what the tokens say moves a
#: previous-token head a little, and few tokens of a text ask for induction.
PROBED = {
    "previous_token": (TEXTS, REPEATS),
    "induction": (REPEATS,),
    "duplicate_token": (REPEATS,),
    "retrieval": (NEEDLES,),
    "copying": (VALUES,),
}
_HEAD = ["stack", "kind", "layer", "head"]


@dataclass(frozen=True, repr=False)
class HeadLabels(Result):
    """What every head does, with the evidence.

    Attributes:
        table: one row per head, pattern and kind of text: ``stack, kind, layer, head, pattern, measured_on, texts,
            strength, low, high`` (95 % interval of the mean over texts), ``chance`` (evenly spread weights),
            ``position`` (the position-matched control), ``untrained`` (what 95 % of an untrained model's heads stay
            below), ``corrected`` (the strength, for the strongest control), ``threshold``, ``p``, ``q`` (p adjusted
            over all rows), ``which`` (the offset, or the tokens of a stripe, in most texts) and ``label`` (whether the
            head bears the name).
        level: the expected share of false labels that is accepted.
        model_name: what was looked at.
    """

    table: pd.DataFrame
    level: float = LEVEL
    model_name: str = ""

    @property
    def labels(self) -> pd.DataFrame:
        """The rows of those heads and patterns that earned the name."""
        return self.table[self.table["label"]].reset_index(drop=True)

    @property
    def heads(self) -> pd.DataFrame:
        """One row per head: its name (that of the most specific pattern it earned, or ""), all it earned, strength."""
        order = {pattern.name: number for number, pattern in enumerate(PATTERNS)}
        rows = []
        for key, group in self.table.groupby(_HEAD, sort=False):
            earned = group[group["label"]].sort_values("pattern", key=lambda names: names.map(order))
            names = list(dict.fromkeys(earned["pattern"]))
            row = dict(zip(_HEAD, key, strict=True)) | {"name": "", "strength": np.nan, "which": ""}
            if names:
                row |= {"name": names[0], "strength": earned["strength"].iloc[0], "which": earned["which"].iloc[0]}
            rows.append(row | {"also": ", ".join(names[1:])})
        return pd.DataFrame(rows, columns=[*_HEAD, "name", "strength", "which", "also"])

    def of(self, pattern: str) -> list[tuple[int, int]]:
        """``(layer, head)`` of all heads with this label."""
        found = self.labels[self.labels["pattern"] == pattern]
        heads = zip(found["layer"], found["head"], strict=True)
        return list(dict.fromkeys((int(layer), int(head)) for layer, head in heads))

    def basis(self) -> Basis:
        return Basis(int(self.table["texts"].max()))

    def facts(self) -> tuple[str, ...]:
        heads, named = len(self.heads), self.labels[_HEAD].drop_duplicates()
        counts = self.labels.drop_duplicates([*_HEAD, "pattern"])["pattern"].value_counts().head(3)
        common = ", ".join(f"{name} {count}" for name, count in counts.items())
        return (f"{len(named)} of {heads} heads are labeled" + (f"; most often {common}" if common else ""),)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@dataclass(frozen=True)
class Patterns(Study[HeadLabels]):
    """Which heads may bear which pattern's name; the settings are those of :func:`label_heads`."""

    patterns: Sequence[Pattern] = PATTERNS
    level: float = LEVEL
    thresholds: Mapping[str, float] | None = None
    probes: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        names = [pattern.name for pattern in self.patterns]
        unknown = set(self.thresholds or {}) - set(names)
        if unknown:
            raise SelectionError(f"There is no pattern {min(unknown)!r} here; the patterns are {', '.join(names)}.")

    @property
    def settings(self) -> str:
        # Level, thresholds and seed are read for the result only.
        return repr(("patterns", [told_apart(pattern) for pattern in self.patterns], self.probes))

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        return measuring(prepared, self._kinds(loaded)[TEXTS])

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        if batch.prepared is not None:
            return state_of([Measured(site, *kept) for site, kept in batch.sites])
        return State.merge([state_of(measured(record, self._kinds(loaded)[TEXTS])) for record in batch.records])

    def result(self, loaded: LoadedModel, state: State) -> HeadLabels:
        return self.table(self.evidence(loaded, state), {}, loaded.name)

    def evidence(self, loaded: LoadedModel, state: State, steps: ProgressCounter | None = None) -> Evidence:
        """What the texts showed, and random tokens, on which the model is run here."""
        evidence = Evidence()
        evidence.enter(state, TEXTS)
        for kind, patterns in self._kinds(loaded).items():
            if kind == TEXTS:
                continue
            found = _on_random_tokens(loaded, kind, patterns, self.seed)
            if found is not None:
                evidence.add(found, kind)
            if steps is not None:
                steps.advance()
        return evidence

    def table(self, evidence: Evidence, beaten: Mapping[tuple[str, str], float], model_name: str) -> HeadLabels:
        """The labels, given what an untrained model's heads stay below."""
        bounds = {each.name: (self.thresholds or {}).get(each.name, each.threshold) for each in self.patterns}
        return HeadLabels(_table(evidence, list(bounds), bounds, beaten, self.level), self.level, model_name)

    def steps(self, loaded: LoadedModel) -> int:
        """How many kinds of random tokens :meth:`evidence` runs the model on."""
        return len(self._kinds(loaded)) - 1

    def _kinds(self, loaded: LoadedModel) -> dict[str, list[Pattern]]:
        return _measured_on(loaded, self.patterns, self.probes)


def label_heads(
    source: LoadedModel | Sequence[CapturedAttention],
    texts: Sequence[str | Pair] | None = None,
    *,
    patterns: Sequence[Pattern] = PATTERNS,
    level: float = LEVEL,
    thresholds: Mapping[str, float] | None = None,
    probes: bool = True,
    untrained: bool = False,
    truncate: bool = False,
    batch_size: int = BATCH,
    seed: int = 0,
    errors: OnError = "raise",
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> HeadLabels:
    """Name heads by what they do, with intervals, controls and correction for looking at all of them.

    Args:
        source: a model, with the texts to run it on; or records of several texts by one model.
        texts: at least three, better twenty: the texts are what the intervals are over.
        patterns: which ones.
        level: the expected share of false labels that is accepted.
        thresholds: other thresholds than the patterns' own, by name.
        probes: whether the patterns of :data:`PROBED` are measured on random tokens as well (a model with one stack and
            a tokenizer; retrieval and copying for decoders only). Without, induction and duplicate tokens are looked
            for in the texts, where they show less.
        untrained: compare with the same architecture with random weights as well.
        truncate: cut what the model has no positions for.
        seed: of the probes and of the untrained weights.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with how many steps are done and how many there are: texts, and kinds of probes.

    Raises:
        InputError: fewer than three texts, records of different models, or the store is of another run.
    """
    study = Patterns(patterns, level, thresholds, probes, seed)
    if not isinstance(source, LoadedModel):
        if store is not None:
            raise InputError("A store keeps what a run over texts measured; records are measured already.")
        if untrained:
            raise InputError("An untrained model is made from a model, not from records; pass the model and texts.")
        if texts is not None:
            raise InputError("Either a model with texts or records are labeled; records and texts were given.")
        if len({record.sites for record in source}) > 1:
            raise InputError("The records are of different models; heads are labeled for one model at a time.")
        evidence = Evidence()
        for record in source:
            evidence.add(measured(record, patterns), TEXTS)
        return study.table(evidence, {}, source[0].model_name if source else "")
    if isinstance(texts, str) or texts is None:
        raise InputError(f"A list of at least {FEWEST_TEXTS} texts was expected, not {type(texts).__name__}.")
    kept = usable_texts(source, texts, errors=errors, truncate=truncate)
    read = kept.texts
    steps = ProgressCounter((1 + untrained) * (len(read) + study.steps(source)), progress)

    def look(model: LoadedModel, folder: Path | None) -> Evidence:
        learned = run_studies(
            model,
            read,
            [study],
            store=folder,
            truncate=truncate,
            batch_size=batch_size,
            progress=steps.within(len(read)),
        )
        return study.evidence(model, learned.states[0], steps)

    folder = None if store is None else Path(store)
    beaten = {}
    if untrained:
        beaten = nearly_largest(look(untrained_model(source, seed), None if folder is None else folder / "untrained"))
    return kept.noted(study.table(look(source, folder), beaten, source.name))


def untrained_model(loaded: LoadedModel, seed: int = 0) -> LoadedModel:
    """The same architecture with the random weights that its training would begin with."""
    fresh = from_config(
        loaded.config, loaded.tokenizer, model_class=type(loaded.model), seed=seed, device=str(loaded.device)
    )
    return replace(fresh, model=fresh.model.to(loaded.dtype), name=f"{loaded.name} (untrained)")


def _measured_on(loaded: LoadedModel, patterns: Sequence[Pattern], probes: bool) -> dict[str, list[Pattern]]:
    """Which patterns are measured on which kind of text, of those that the model can read."""
    if not probes or loaded.architecture == "encoder-decoder":
        return {TEXTS: list(patterns)}
    kinds = [REPEATS, *([NEEDLES] if loaded.architecture == "decoder" else []), VALUES]
    found = {kind: [p for p in patterns if kind in PROBED.get(p.name, (TEXTS,))] for kind in (TEXTS, *kinds)}
    return {kind: chosen for kind, chosen in found.items() if chosen or kind == TEXTS}


def _on_random_tokens(loaded: LoadedModel, kind: str, patterns: Sequence[Pattern], seed: int) -> list[Measured] | None:
    """One kind of random tokens; None where the model has no room for them or its heads' output cannot be read."""
    if kind == REPEATS:
        return measure_prepared(loaded, repeated_tokens(loaded, seed=seed), patterns)
    if kind == NEEDLES:
        found = needles(loaded, seed=seed)
        return None if found is None else measure_prepared(loaded, found[0], patterns, found[1])
    # A model whose heads' output cannot be read one by one has no rows about it.
    with suppress(UnsupportedModelError):
        return measure_copying(loaded, seed=seed)
    return None


def _table(
    evidence: Evidence,
    names: Sequence[str],
    thresholds: Mapping[str, float],
    beaten: Mapping[tuple[str, str], float],
    level: float,
) -> pd.DataFrame:
    if evidence.texts < FEWEST_TEXTS:
        raise InputError(
            f"Labels need at least {FEWEST_TEXTS} texts, because intervals are over texts; {evidence.texts} given."
        )
    order = {name: number for number, name in enumerate(names)}
    places = {site: number for number, site in enumerate(dict.fromkeys(site for site, _, _ in evidence.parts))}
    frames = []
    for site, name, source in sorted(evidence.parts, key=lambda part: (places[part[0]], order[part[1]])):
        part = evidence.parts[site, name, source]
        untrained = beaten.get((name, source), np.nan)
        strength, corrected = np.concatenate(part.strength), part.corrected(untrained)
        low, high = bootstrap_interval(strength)
        frames.append(
            pd.DataFrame(
                {"stack": site.stack, "kind": site.kind, "layer": site.layer, "head": range(site.heads)}
                | {"pattern": name, "measured_on": source, "texts": (~np.isnan(strength)).sum(0)}
                | {"strength": mean_over_texts(strength), "low": low, "high": high}
                | {"chance": mean_over_texts(np.concatenate(part.chance))}
                | {"position": mean_over_texts(np.concatenate(part.position))}
                | {"corrected": mean_over_texts(corrected), "threshold": thresholds[name]}
                | {"untrained": untrained, "p": p_above(corrected, thresholds[name])}
                | {"which": part.which() or "", "site": places[site]}
            )
        )
    table = pd.concat(frames, ignore_index=True)
    table = table.sort_values(["site", "head"], kind="stable", ignore_index=True).drop(columns="site")
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    table["label"] = table["q"] <= level
    return table


__getattr__ = renamed_names(__name__, {"LabelTable": "HeadLabels"})
