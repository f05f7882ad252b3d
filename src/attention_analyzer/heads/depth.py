"""How heads change with depth: every metric by layer, and where the weight goes, in one picture of a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.heads.weight_allocation import SHARES, OffsetRates, edges_of, shares_of
from attention_analyzer.inputs import check_readable
from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.metrics.chosen import chosen_metrics
from attention_analyzer.metrics.head_table import HEAD_KEYS, head_table
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.recording import BATCH
from attention_analyzer.result import Basis, Result
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import State
from attention_analyzer.run.study import MeasuredBatch, Study, told_apart
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.annotation import AnnotatedText
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LAYER = ["stack", "kind", "layer"]


@dataclass(frozen=True, repr=False)
class DepthProfile(Result):
    """A model by depth.

    Attributes:
        table: one row per layer and metric: ``stack, kind, layer, metric, mean`` over heads and texts, ``spread`` (the
            standard deviation between heads), ``smallest`` and ``largest`` head, and the 95 % interval over texts of
            the layer's mean (``low, high``; missing for a single text).
        heads: one row per head: every metric's mean over texts, and its shares: ``sink``, ``local``, ``distant``, and
            ``syntax`` with ``syntax_expected`` (what distances alone explain) where texts are annotated; see
            :mod:`.shares`.
        annotated: whether the texts were; without annotation no share is called syntax.
        texts: how many were looked at.
    """

    table: pd.DataFrame = field(compare=False)
    heads: pd.DataFrame = field(compare=False)
    annotated: bool
    texts: int
    model_name: str = ""

    views: ClassVar[tuple[str, ...]] = ("metrics",)

    @property
    def profile(self) -> pd.DataFrame:
        """Mean shares of each layer."""
        names = [name for name in (*SHARES, "syntax_expected") if name in self.heads]
        return self.heads.groupby(_LAYER, sort=False)[names].mean().reset_index()

    def plot_metrics(self, metrics: Sequence[str] | None = None) -> Figure:
        """Metrics by depth: the mean, its interval, the spread between heads, and the heads themselves."""
        return self.figure("metrics", metrics=metrics)

    def basis(self) -> Basis:
        return Basis(self.texts)

    def facts(self) -> tuple[str, ...]:
        layers = self.table[_LAYER].drop_duplicates()
        return (f"{self.table['metric'].nunique()} metrics in {len(layers)} layers; {self.texts} texts",)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


def depth_profile(
    loaded: LoadedModel,
    texts: Sequence[str | Pair] | Iterable[AnnotatedText],
    *,
    metrics: Sequence[Metric | str] | None = None,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: OnError = "raise",
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> DepthProfile:
    """Measure every layer on some texts.

    Args:
        texts: texts; or sentences annotated with dependencies (:func:`.linguistics.read_annotated`), which adds the
            share of weight that goes along the syntax, and what distances alone explain of it.
        metrics: all of :data:`.metrics.METRICS` by default.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError: there are no texts, only some of them are annotated, or the store is of another run.
    """
    given = [] if isinstance(texts, (str, bytes)) else list(texts)
    kept = usable_texts(loaded, given, errors=errors, check=lambda text: check_readable(loaded, _read(text), truncate))
    given = kept.texts
    annotated = [text for text in given if isinstance(text, AnnotatedText)]
    if not given or (annotated and len(annotated) < len(given)):
        raise InputError("A list of texts was expected, or one of annotated sentences; at least one, and no mixture.")
    if annotated and not any(text.governors for text in annotated):
        raise InputError("The annotated sentences hold no dependencies; pass their texts instead.")
    plain = [_read(text) for text in given]
    study = DepthProfiles(None if metrics is None else chosen_metrics(metrics), tuple(annotated))
    learned = run_studies(
        loaded, plain, [study], store=store, truncate=truncate, batch_size=batch_size, progress=progress
    )
    return kept.noted(study.result(loaded, learned.states[0]))


def _read(text: str | Pair | AnnotatedText) -> str | Pair:
    return text.text if isinstance(text, AnnotatedText) else text


@dataclass(frozen=True)
class DepthProfiles(Study[DepthProfile]):
    """Every metric by depth, and where the weight goes; see :func:`depth_profile`.

    Attributes:
        metrics: all of :data:`.metrics.METRICS` by default.
        annotated: the annotation of every text, or of none.
    """

    metrics: tuple[Metric, ...] | None = None
    annotated: tuple[AnnotatedText, ...] = ()

    reads_weights: ClassVar[bool] = True

    @property
    def settings(self) -> str:
        edges = [(text.spans, text.governors) for text in self.annotated]
        return repr(("specialisation", [told_apart(metric) for metric in self._chosen], edges))

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        return State.merge(
            [self._of_text(number, record) for number, record in zip(batch.numbers, batch.records, strict=True)]
        )

    def result(self, loaded: LoadedModel, state: State) -> DepthProfile:
        if not state.texts:
            raise InputError("There is no text to say something of; give at least one that can be used.")
        names = [metric.name for metric in self._chosen]
        frames = []
        for site in state.sites:
            values = state.arrays[site.name]
            texts, heads, columns = values.shape
            keys = {"text": np.repeat(np.arange(texts), heads), "stack": site.stack, "kind": site.kind}
            keys |= {"layer": site.layer, "head": np.tile(np.arange(heads), texts)}
            of_site = pd.DataFrame(values.reshape(-1, columns), columns=[*names, *SHARES])
            frames.append(pd.concat([pd.DataFrame(keys), of_site], axis=1))
        everything = pd.concat(frames, ignore_index=True)
        heads = everything.drop(columns="text").groupby(list(HEAD_KEYS), sort=False).mean().reset_index()
        if self.annotated:
            rates = OffsetRates.from_sums(state.sums)
            heads["syntax_expected"] = np.nan
            for site in state.sites:
                if site.kind == "self":
                    rows = (heads[_LAYER] == [site.stack, site.kind, site.layer]).all(axis=1)
                    heads.loc[rows, "syntax_expected"] = rates.expected(site).numpy()
        else:
            heads = heads.drop(columns="syntax")
        by_layer = _by_layer(everything, heads, names)
        return DepthProfile(by_layer, heads, bool(self.annotated), state.texts, loaded.name)

    @property
    def _chosen(self) -> tuple[Metric, ...]:
        return METRICS if self.metrics is None else self.metrics

    def _of_text(self, number: int, record: CapturedAttention) -> State:
        """Metrics and shares of one text: by site ``[1, head, metric and share]``."""
        edges = edges_of(self.annotated[number], record.tokens) if self.annotated else None
        rates = OffsetRates()
        if edges is not None:
            rates.add_text(record.tokens, edges)
        table = head_table(record, self._chosen)[[metric.name for metric in self._chosen]].to_numpy(np.float64)
        arrays, first = {}, 0
        for entry in record.entries:
            of_main = entry.site.kind == "self" and entry.queries == record.tokens
            shares = shares_of(entry, edges if of_main else None).T.numpy()
            if edges is not None and of_main:
                rates.add_site(entry)
            arrays[entry.site.name] = np.concatenate([table[first : first + entry.site.heads], shares], axis=1)[None]
            first += entry.site.heads
        return State(1, record.sites, arrays, {} if edges is None else rates.sums())


def _by_layer(everything: pd.DataFrame, heads: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    means = everything.groupby(["text", *_LAYER], sort=False)[list(names)].mean()
    rows = []
    for place, of_layer in heads.groupby(_LAYER, sort=False):
        by_text = means.xs(place, level=_LAYER).to_numpy()
        low, high = bootstrap_interval(by_text)
        for number, name in enumerate(names):
            values = of_layer[name]
            rows.append(
                dict(zip(_LAYER, place, strict=True))
                | {
                    "metric": name,
                    "mean": values.mean(),
                    "spread": values.std(ddof=0),
                    "smallest": values.min(),
                    "largest": values.max(),
                    "low": low[number],
                    "high": high[number],
                }
            )
    return pd.DataFrame(rows)
