"""What each head needs of the KV cache: the weight that is kept if only the first and the last keys stay.

A *streaming* head loses next to nothing that way; a *retrieval* head finds things far back and needs the whole cache
(Xiao et al. 2024, DuoAttention, who learn which is which; here the weight that is kept is measured, exactly). Weight
kept is no proof that the output stays the same: that is what :mod:`attention_analyzer.interventions` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.labels import FEWEST_TEXTS, LEVEL
from attention_analyzer.patterns.probes import needles
from attention_analyzer.patterns.recent_weight import RecentWeight
from attention_analyzer.patterns.retrieval import Retrieval
from attention_analyzer.patterns.streaming import measure_prepared
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import batches, run
from attention_analyzer.result import Result
from attention_analyzer.site import Site
from attention_analyzer.stats import (
    Floats,
    benjamini_hochberg,
    bootstrap_interval,
    mean_over_texts,
    p_above,
)
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import GroupWeight, Statistics, TotalWeight

if TYPE_CHECKING:
    pass

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
    progress: OnProgress | None = None,
) -> CacheAdvice:
    """Which heads can do with the first and the last keys, from at least three long texts.

    Args:
        texts: longer than the smallest cache; texts that a cache holds whole say nothing of it.
        first, last: sizes to try, all combinations.
        share: the weight that a streaming head's cache must keep.
        seed: of the needles that retrieval is measured on (:mod:`.probes`).
        progress: called with how many steps are done and how many there are: texts, and the needles.

    Raises:
        InputError: fewer than three texts are longer than the smallest cache, or a size is below one.
        UnsupportedModelError: the model is no decoder.
    """
    sizes = [*first, *last]
    if not first or not last or min(sizes) < 1 or not 0 < share <= 1:
        raise InputError(
            f"Caches of one or more first and last keys and a share in (0, 1] were expected, not {sizes}, {share}."
        )
    if loaded.architecture != "decoder":
        raise UnsupportedModelError(
            f"A KV cache is what a decoder keeps while it writes; {loaded.name} is an {loaded.architecture}."
        )
    if isinstance(texts, str):
        raise InputError(f"A list of at least {FEWEST_TEXTS} texts was expected, not str.")
    caches = sorted(product(sorted(set(first)), sorted(set(last))), key=sum)
    steps = ProgressCounter(len(texts) + 1, progress)
    kept = _measured(loaded, texts, caches, truncate, steps)
    table = pd.concat(
        [_rows(site, found, cache, number) for site, found in kept.items() for number, cache in enumerate(caches)]
    )
    table = table.sort_values([*_HEAD, "first", "last"], kind="stable", ignore_index=True)
    long = int(table["texts"].max()) if len(table) else 0
    if long < FEWEST_TEXTS:
        raise InputError(
            f"At least {FEWEST_TEXTS} texts must be longer than the smallest cache ({sum(caches[0])} tokens), but "
            f"{long} are; give longer texts, or smaller first=… and last=…."
        )
    retrieval, retrieves = _retrieval(loaded, seed)
    steps.advance()
    return CacheAdvice(table, _advice(table, share, retrieval, retrieves), share, loaded.name)


@dataclass
class _Kept:
    """One site: weight kept ``[cache, text, head]`` batch by batch, and the least of any query."""

    cache_heads: int
    means: list[Floats] = field(default_factory=list)
    least: list[Floats] = field(default_factory=list)


def _measured(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    caches: list[tuple[int, int]],
    truncate: bool,
    steps: ProgressCounter,
) -> dict[Site, _Kept]:
    wanted = [TotalWeight(), *(GroupWeight(f"first {size}") for size in dict.fromkeys(first for first, _ in caches))]
    wanted += [RecentWeight(size) for size in dict.fromkeys(last for _, last in caches)]
    sites: dict[Site, _Kept] = {}
    for batch in batches(texts, _BATCH):
        prepared = prepare(loaded, batch, truncate=truncate)
        valid = prepared.valid

        def keep(place: CallSite, weights: AttentionWeights, valid: Tensor = valid) -> tuple[int, Floats, Floats]:
            if weights.shape[1:] != (valid.shape[1], valid.shape[1]):
                raise UnsupportedModelError(
                    f"{place.path} pools its keys; what a cache of it holds is no run of tokens."
                )
            keys = torch.arange(weights.keys, device=weights.empty().device)[None]
            groups = {need.group: keys < int(need.group.split()[1]) for need in wanted if isinstance(need, GroupWeight)}
            results = weights.reduce(wanted, groups=groups, valid=valid, key_valid=valid)
            shared = weights.source.key.shape[1] if isinstance(weights, QueryKeyWeights) else weights.heads
            return shared, *_kept(results, caches)

        for site, (shared, means, least) in run(loaded, prepared, keep=keep).sites:
            found = sites.setdefault(site, _Kept(shared))
            found.means.append(means)
            found.least.append(least)
        steps.advance(len(batch))
    return sites


def _kept(results: Statistics, caches: list[tuple[int, int]]) -> tuple[Floats, Floats]:
    """Weight kept, ``[cache, text, head]``: mean and least over the queries that would lose something."""
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
    return torch.stack(means).cpu().numpy(), torch.stack(least).cpu().numpy()


def _rows(site: Site, found: _Kept, cache: tuple[int, int], number: int) -> pd.DataFrame:
    kept = np.concatenate([part[number] for part in found.means])
    least = np.concatenate([part[number] for part in found.least]).min(0)
    low, high = bootstrap_interval(kept)
    heads = np.arange(site.heads)
    return pd.DataFrame(
        {"stack": site.stack, "layer": site.layer, "head": heads, "cache_head": heads * found.cache_heads // site.heads}
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
