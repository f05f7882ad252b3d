"""Which heads look alike, which stand alone, and which complete each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.heads.clusters import Clusters, clusters_of, map_of, tight_groups
from attention_analyzer.heads.complement import FEWEST_HEADS, SMALLEST_GAIN, coverage
from attention_analyzer.heads.distance import chosen_entries, distance_of, divergence_of_heads
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.recording import BATCH
from attention_analyzer.result import Basis, Result
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import State
from attention_analyzer.run.study import MeasuredBatch, Study
from attention_analyzer.site import Kind
from attention_analyzer.stats import Floats, benjamini_hochberg, bootstrap_interval, p_above
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts

#: Intervals and stability are over texts, so there must be some.
FEWEST_TEXTS = 3
#: Heads are redundant if the whole interval of their distance lies below this: 4 % of the largest divergence there is.
REDUNDANT = 0.2
LEVEL = 0.05
_DRAWS = 500
_TOO_FEW = f"At least {FEWEST_TEXTS} texts are needed, to say how far distances vary between texts."
_COLUMNS = "name layer head cluster stable nearest distance low high specialised group x y".split()


@dataclass(frozen=True, repr=False)
class Similarity(Result):
    """How alike the heads of one stack and kind of attention look.

    Attributes:
        table: one row per head: ``name, layer, head``, its ``cluster`` and how ``stable`` that is, the ``nearest``
            other head, its ``distance`` with the 95 % interval over texts (``low, high``), whether the head is
            ``specialised``, its redundant ``group`` (or missing), and its place ``x, y`` on the map.
        pairs: one row per pair: ``first, second``, ``distance`` in [0, 1] with ``low, high``, ``divergence`` in nats,
            ``redundant``, and how they complete each other: ``alone`` (what the better covers), ``together``,
            ``expected`` (of unrelated heads), ``excess`` over that with its interval (``excess_low, excess_high``),
            ``q`` (p that there is none, adjusted over all pairs) and ``complementary``.
        clusters: the clusters, their silhouette and stability.
        shown: share of all spread between heads that the map's two axes show.
        texts: how many were looked at; ``place``: "encoder self", "decoder cross" ….
        by_text: divergences ``[text, head, head]`` in nats.
    """

    table: pd.DataFrame = field(compare=False)
    pairs: pd.DataFrame = field(compare=False)
    clusters: Clusters = field(compare=False)
    shown: float
    texts: int
    place: str
    by_text: Floats = field(repr=False, compare=False)
    model_name: str = ""

    @property
    def distances(self) -> pd.DataFrame:
        """Mean distances, heads × heads."""
        names = list(self.table["name"])
        return pd.DataFrame(distance_of(self.by_text.mean(0)), index=names, columns=names)

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Groups of redundant heads: all within the redundancy distance of each other."""
        grouped = self.table.dropna(subset="group").groupby("group")["name"]
        return [tuple(names) for _, names in grouped]

    @property
    def complementary(self) -> pd.DataFrame:
        """The complementary pairs, the largest excess first."""
        found = self.pairs[self.pairs["complementary"]]
        return found.sort_values("excess", ascending=False).reset_index(drop=True)

    @property
    def specialised(self) -> list[str]:
        """Heads that look like no other."""
        return list(self.table["name"][self.table["specialised"]])

    def basis(self) -> Basis:
        return Basis(self.texts)

    def facts(self) -> tuple[str, ...]:
        clusters = self.clusters
        quality = f"silhouette {clusters.silhouette:.2f}, stability {clusters.stability:.2f}"
        return (
            f"{len(self.table)} heads in {self.place}-attention; {self.texts} texts",
            f"{clusters.labels.max() + 1} clusters, {quality}; {len(self.groups)} redundant groups",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@dataclass(frozen=True)
class HeadSimilarity(Study[Similarity]):
    """Which heads look alike; the settings are those of :func:`similarity`. Its state has pairs of heads per text,
    because stability and intervals are over texts.
    """

    stack: str | None = None
    kind: Kind | None = None
    clusters: int | None = None
    redundant: float = REDUNDANT
    seed: int = 0

    reads_weights: ClassVar[bool] = True

    @property
    def settings(self) -> str:
        # The others are read for the result only.
        return repr(("similarity", self.stack, self.kind))

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        return State.merge([self._of_text(loaded, record) for record in batch.records])

    def result(self, loaded: LoadedModel, state: State) -> Similarity:
        if state.texts < FEWEST_TEXTS:
            raise InputError(_TOO_FEW)
        by_text, sites = state.arrays["divergence"], state.sites
        heads = [(site.layer, head) for site in sites for head in range(site.heads)]
        names = [f"L{layer}H{head}" for layer, head in heads]
        found = clusters_of(by_text, self.clusters, self.seed)
        places, shown = map_of(distance_of(by_text.mean(0)))
        pairs = _pairs(by_text, state.arrays, names, self.redundant, self.seed)
        table = _table(heads, names, by_text, pairs, redundant=self.redundant, seed=self.seed)
        table = table.assign(cluster=found.labels, stable=found.by_head, x=places[:, 0], y=places[:, 1])[_COLUMNS]
        place = f"{sites[0].stack} {sites[0].kind}"
        return Similarity(table, pairs, found, shown, len(by_text), place, by_text, loaded.name)

    def _of_text(self, loaded: LoadedModel, record: CapturedAttention) -> State:
        entries = chosen_entries(record, self.stack, self.kind)
        heads = sum(entry.site.heads for entry in entries)
        if heads < FEWEST_TEXTS:
            raise InputError(f"{loaded.name} has fewer than three heads there, so there is nothing to compare.")
        arrays = {"divergence": divergence_of_heads(entries).numpy()[None]}
        if heads >= FEWEST_HEADS:
            found = coverage(entries)
            for name in ("alone", "together", "expected"):
                arrays[name] = getattr(found, name).numpy()[None]
        return State(1, tuple(entry.site for entry in entries), arrays)


def similarity(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    *,
    stack: str | None = None,
    kind: Kind | None = None,
    clusters: int | None = None,
    redundant: float = REDUNDANT,
    seed: int = 0,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: OnError = "raise",
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> Similarity:
    """Compare all heads of one stack and kind of attention with each other.

    Heads are *redundant* here if they look at the same; what they make of it (their values) may differ. A head is
    *specialised* if even the nearest other head is far: its distance's interval lies above the upper fence of all
    nearest distances (third quartile + 1.5 × the quartiles' distance; Tukey 1977). For *complementary* pairs see
    :mod:`.complement`. Time grows with heads² × tokens², memory with the text.

    Args:
        texts: at least three; intervals and stability are over them.
        stack, kind: by default the main text's own attention.
        clusters: how many; by default chosen by silhouette.
        redundant: the distance below which heads are redundant.
        seed: of the resampling.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError: fewer than three texts or heads, or the store is of another run.
        MissingDependencyError: scikit-learn is not installed.
    """
    if isinstance(texts, str):
        raise InputError(_TOO_FEW)
    kept = usable_texts(loaded, texts, errors=errors, truncate=truncate)
    if len(kept.texts) < FEWEST_TEXTS:
        raise InputError(_TOO_FEW)
    study = HeadSimilarity(stack, kind, clusters, redundant, seed)
    learned = run_studies(
        loaded, kept.texts, [study], store=store, truncate=truncate, batch_size=batch_size, progress=progress
    )
    return kept.noted(study.result(loaded, learned.states[0]))


def _pairs(
    by_text: Floats, covered: Mapping[str, Floats], names: Sequence[str], redundant: float, seed: int
) -> pd.DataFrame:
    first, second = np.triu_indices(len(names), 1)
    divergence = by_text[:, first, second]
    low, high = bootstrap_interval(divergence, _DRAWS, seed)
    frame = pd.DataFrame(
        {
            "first": [names[index] for index in first.tolist()],
            "second": [names[index] for index in second.tolist()],
            "distance": distance_of(divergence.mean(0)),
            "low": distance_of(low),
            "high": distance_of(high),
            "divergence": divergence.mean(0),
        }
    )
    frame["redundant"] = frame["high"] < redundant
    if "alone" not in covered:
        unknown = ("alone", "together", "expected", "excess", "excess_low", "excess_high", "q")
        return frame.assign(**dict.fromkeys(unknown, np.nan), complementary=False)
    one = covered["alone"]
    alone = np.maximum(one, one.transpose(0, 2, 1))[:, first, second]
    together, expected = (covered[name][:, first, second] for name in ("together", "expected"))
    excess = together - expected
    excess_low, excess_high = bootstrap_interval(excess, _DRAWS, seed)
    q = benjamini_hochberg(p_above(excess, 0.0))
    gain = together.mean(0) - alone.mean(0)
    return frame.assign(
        alone=alone.mean(0),
        together=together.mean(0),
        expected=expected.mean(0),
        excess=excess.mean(0),
        excess_low=excess_low,
        excess_high=excess_high,
        q=q,
        complementary=(q <= LEVEL) & (gain >= SMALLEST_GAIN),
    )


def _table(
    heads: Sequence[tuple[int, int]],
    names: Sequence[str],
    by_text: Floats,
    pairs: pd.DataFrame,
    *,
    redundant: float,
    seed: int,
) -> pd.DataFrame:
    mean = by_text.mean(0) + np.diag(np.full(len(names), np.inf))
    nearest = mean.argmin(1)
    own = by_text[:, range(len(names)), nearest]
    low, high = (distance_of(end) for end in bootstrap_interval(own, _DRAWS, seed))
    distance = distance_of(own.mean(0))
    lower, upper = np.percentile(distance, (25, 75))
    upper_ends = np.zeros((len(names), len(names)))
    first, second = np.triu_indices(len(names), 1)
    upper_ends[first, second] = upper_ends[second, first] = pairs["high"]
    group = np.full(len(names), np.nan)
    for number, members in enumerate(tight_groups(upper_ends, redundant)):
        group[members] = number
    return pd.DataFrame(
        {
            "name": list(names),
            "layer": [layer for layer, _ in heads],
            "head": [head for _, head in heads],
            "nearest": [names[index] for index in nearest.tolist()],
            "distance": distance,
            "low": low,
            "high": high,
            "specialised": low > upper + 1.5 * (upper - lower),
            "group": pd.array(group, dtype="Int64"),
        }
    )
