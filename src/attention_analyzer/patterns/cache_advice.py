"""What each head needs of the KV cache: the weight that is kept if only the first and the last keys stay.

A *streaming* head loses next to nothing that way; a *retrieval* head finds things far back and needs the whole cache
(Xiao et al. 2024, DuoAttention, who learn which is which; here the weight that is kept is measured, exactly). Weight
kept is no proof that the output stays the same: that is what :mod:`attention_analyzer.interventions` measures.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch

from attention_analyzer.errors import InputError, OnError, UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.labels import FEWEST_TEXTS, LEVEL
from attention_analyzer.patterns.probes import needles
from attention_analyzer.patterns.recent_weight import RecentWeight
from attention_analyzer.patterns.retrieval import Retrieval
from attention_analyzer.patterns.streaming import measure_prepared
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.result import Basis, Result
from attention_analyzer.run.needs import Needs
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import Array, State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study
from attention_analyzer.site import Kind, Site
from attention_analyzer.stats import (
    Floats,
    benjamini_hochberg,
    bootstrap_interval,
    mean_over_texts,
    p_above,
)
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import GroupWeight, Statistics, TotalWeight

#: Sinks and recent tokens of the caches that are tried.
FIRST, LAST = (1, 4, 16), (16, 64, 256)
#: The share of the weight that a streaming head's cache must keep.
SHARE = 0.95
_BATCH = 4
_HEAD = ["stack", "layer", "head"]


@dataclass(frozen=True, repr=False)
class CacheAdvice(Result):
    """Per head, what small caches keep.

    Attributes:
        table: one row per head and cache: ``stack, layer, head, cache_head`` (query heads of one number share keys and
            values), ``first, last, texts, kept`` (mean over the queries that would lose something), ``low, high`` (95 %
            interval over texts) and ``least`` (the one query that keeps least, in any text).
        heads: one row per head: ``role``, "streaming", "retrieval" or "full"; ``retrieval`` (strength on needles, NaN
            where the model does not repeat them); ``first, last, kept, low`` of the smallest cache that suffices, or of
            the largest tried where none does; and ``cut``, whether all heads of its cache stream.
        share: what a streaming head's cache must keep, even at the lower end of the interval.
        model_name: what was looked at.
    """

    table: pd.DataFrame
    heads: pd.DataFrame
    share: float = SHARE
    model_name: str = ""

    def of(self, role: str) -> list[tuple[int, int]]:
        """``(layer, head)`` of all heads with this role."""
        found = self.heads[self.heads["role"] == role]
        return [(int(layer), int(head)) for layer, head in zip(found["layer"], found["head"], strict=True)]

    def saved(self, tokens: int) -> float:
        """The share of the KV cache that a text of so many tokens would not need, if all that can be cut is."""
        caches = self.heads.assign(needed=(self.heads["first"] + self.heads["last"]).clip(upper=tokens))
        caches["needed"] = caches["needed"].where(caches["cut"], tokens)
        needed = caches.groupby(["stack", "layer", "cache_head"])["needed"].max()
        return 1 - float(needed.mean()) / tokens

    def basis(self) -> Basis:
        return Basis(int(self.table["texts"].max()))

    def facts(self) -> tuple[str, ...]:
        roles = self.heads["role"].value_counts()
        return (f"{len(self.heads)} heads: " + ", ".join(f"{count} {role}" for role, count in roles.items()),)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`heads`."""
        return self.heads


def cache_advice(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    *,
    first: Sequence[int] = FIRST,
    last: Sequence[int] = LAST,
    share: float = SHARE,
    truncate: bool = False,
    seed: int = 0,
    errors: OnError = "raise",
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> CacheAdvice:
    """Which heads can do with the first and the last keys, from at least three long texts.

    Args:
        texts: longer than the smallest cache; texts that a cache holds whole say nothing of it.
        first, last: sizes to try, all combinations.
        share: the weight that a streaming head's cache must keep.
        seed: of the needles that retrieval is measured on (:mod:`.probes`).
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with how many steps are done and how many there are: texts, and the needles.

    Raises:
        InputError: fewer than three texts are longer than the smallest cache, a size is below one, or the
            store is of another run.
        UnsupportedModelError: the model is no decoder.
    """
    study = CacheSizes(tuple(first), tuple(last), share, seed)
    study.check(loaded)
    if isinstance(texts, str):
        raise InputError(f"A list of at least {FEWEST_TEXTS} texts was expected, not str.")
    kept = usable_texts(loaded, texts, errors=errors, truncate=truncate)
    steps = ProgressCounter(len(kept.texts) + 1, progress)
    learned = run_studies(
        loaded,
        kept.texts,
        [study],
        store=store,
        truncate=truncate,
        batch_size=_BATCH,
        progress=steps.within(len(kept.texts)),
    )
    advice = kept.noted(study.result(loaded, learned.states[0]))
    steps.advance()
    return advice


@dataclass(frozen=True)
class CacheSizes(Study[CacheAdvice]):
    """Which heads of a decoder can do with the first and the last keys; the settings are those of
    :func:`cache_advice`.
    """

    first: Sequence[int] = FIRST
    last: Sequence[int] = LAST
    share: float = SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = [*self.first, *self.last]
        if not self.first or not self.last or min(sizes) < 1 or not 0 < self.share <= 1:
            raise InputError(
                "Caches of one or more first and last keys and a share in (0, 1] were expected, "
                f"not {sizes}, {self.share}."
            )

    @property
    def settings(self) -> str:
        # Share and seed are read for the result only.
        return repr(("cache sizes", self._caches))

    def check(self, loaded: LoadedModel) -> None:
        """Raise an :class:`UnsupportedModelError` unless the model is a decoder."""
        if loaded.architecture != "decoder":
            raise UnsupportedModelError(f"Only decoders have a KV cache; {loaded.name} is an {loaded.architecture}.")

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        self.check(loaded)
        firsts, lasts = zip(*self._caches, strict=True)
        groups = [GroupWeight(f"first {size}") for size in dict.fromkeys(firsts)]
        wanted = [TotalWeight(), *groups, *(RecentWeight(size) for size in dict.fromkeys(lasts))]
        keys = torch.arange(prepared.source_length)[None]
        seen = {need.group: keys < int(need.group.split()[1]) for need in groups}

        def measure(_stack: str, _kind: Kind, weights: AttentionWeights) -> Needs:
            shared = weights.source.key.shape[1] if isinstance(weights, QueryKeyWeights) else weights.heads
            return Needs(wanted, lambda results: (shared, *_kept(results, self._caches)), groups=seen)

        return measure

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        if batch.prepared is None:
            raise UnsupportedModelError(f"{loaded.name} pools its keys; what a cache of it holds is no run of tokens.")
        arrays: dict[str, Array] = {}
        for site, (shared, means, least) in batch.sites:
            arrays[f"{site.name}/kept"], arrays[f"{site.name}/least"] = means, least
            arrays[f"{site.name}/cache heads"] = np.full(len(means), shared)
        return State(len(batch.prepared.source), tuple(site for site, _ in batch.sites), arrays)

    def result(self, loaded: LoadedModel, state: State) -> CacheAdvice:
        caches = self._caches
        rows = [_rows(site, state, cache, number) for site in state.sites for number, cache in enumerate(caches)]
        table = pd.concat(rows) if rows else pd.DataFrame({name: [] for name in (*_HEAD, "first", "last", "texts")})
        table = table.sort_values([*_HEAD, "first", "last"], kind="stable", ignore_index=True)
        long = int(table["texts"].max()) if len(table) else 0
        if long < FEWEST_TEXTS:
            raise InputError(
                f"At least {FEWEST_TEXTS} texts must be longer than the smallest cache ({sum(caches[0])} tokens), but "
                f"{long} are",
                ["give longer texts", "reduce the numbers of first and last tokens"],
            )
        retrieval, retrieves = _retrieval(loaded, self.seed)
        return CacheAdvice(table, _advice(table, self.share, retrieval, retrieves), self.share, loaded.name)

    @property
    def _caches(self) -> list[tuple[int, int]]:
        return sorted(product(sorted(set(self.first)), sorted(set(self.last))), key=sum)


def _kept(results: Statistics, caches: list[tuple[int, int]]) -> tuple[Floats, Floats]:
    """Weight kept, ``[text, cache, head]``: mean and least over the queries that would lose something."""
    total = results[TotalWeight()]
    places = torch.arange(results.axes.queries, device=total.device)
    means, least = [], []
    for first, last in caches:
        # Beyond the cache's size its two parts do not overlap.
        kept = (results[GroupWeight(f"first {first}")] + results[RecentWeight(last)]) / total
        loses = results.valid & (places >= first + last)
        kept = kept.masked_fill(~loses, torch.nan).double()
        means.append(kept.nanmean(-1))
        least.append(kept.nan_to_num(torch.inf).amin(-1))
    return torch.stack(means, 1).cpu().numpy(), torch.stack(least, 1).cpu().numpy()


def _rows(site: Site, state: State, cache: tuple[int, int], number: int) -> pd.DataFrame:
    kept = state.arrays[f"{site.name}/kept"][:, number]
    least = state.arrays[f"{site.name}/least"][:, number].min(0)
    cache_heads = int(state.arrays[f"{site.name}/cache heads"][0])
    low, high = bootstrap_interval(kept)
    heads = np.arange(site.heads)
    return pd.DataFrame(
        {"stack": site.stack, "layer": site.layer, "head": heads, "cache_head": heads * cache_heads // site.heads}
        | {"first": cache[0], "last": cache[1], "texts": (~np.isnan(kept)).sum(0), "kept": mean_over_texts(kept)}
        | {"low": low, "high": high, "least": np.where(np.isinf(least), np.nan, least)}
    )


def _retrieval(loaded: LoadedModel, seed: int) -> tuple[dict[tuple[str, int, int], float], set[tuple[str, int, int]]]:
    """Strength on needles by ``(stack, layer, head)``, and those heads that credibly retrieve."""
    found = needles(loaded, seed=seed)
    if found is None:
        return {}, set()
    pattern = Retrieval()
    measured = measure_prepared(loaded, found[0], [pattern], found[1])
    places = [(each.site.stack, each.site.layer, head) for each in measured for head in range(each.site.heads)]
    strength = np.concatenate([each.strengths.strength[0].numpy() for each in measured], axis=1)
    q = benjamini_hochberg(p_above(strength, pattern.threshold))
    retrieves = {place for place, value in zip(places, q, strict=True) if value <= LEVEL}
    return dict(zip(places, mean_over_texts(strength).tolist(), strict=True)), retrieves


def _advice(
    table: pd.DataFrame,
    share: float,
    retrieval: dict[tuple[str, int, int], float],
    retrieves: set[tuple[str, int, int]],
) -> pd.DataFrame:
    rows = []
    for place, caches in table.groupby(_HEAD, sort=False):
        known = caches[caches["texts"] >= FEWEST_TEXTS]
        known = known.assign(size=known["first"] + known["last"]).sort_values("size", kind="stable")
        enough = known[known["low"] >= share]
        best = (enough.iloc[0] if len(enough) else known.iloc[-1])[["cache_head", "first", "last", "kept", "low"]]
        role = "retrieval" if place in retrieves else "streaming" if len(enough) else "full"
        row = dict(zip(_HEAD, place, strict=True)) | {"role": role, "retrieval": retrieval.get(place, np.nan)}
        rows.append(row | best.to_dict())
    heads = pd.DataFrame(rows).astype({"cache_head": int, "first": int, "last": int})
    streams = heads["role"] == "streaming"
    return heads.assign(cut=streams.groupby([heads["stack"], heads["layer"], heads["cache_head"]]).transform("all"))
