"""Everything that an atlas shows of one model, as plain data: one entry per head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attention_analyzer.atlas.examples import deciles_of, examples_of
from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.heads.depth import depth_profile
from attention_analyzer.heads.importance import HeadImportance, head_importance
from attention_analyzer.heads.similarity import FEWEST_TEXTS as FEWEST_ALIKE
from attention_analyzer.heads.similarity import similarity
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.labels import HeadLabels, label_heads
from attention_analyzer.programs.find import programs
from attention_analyzer.programs.result import HeadPrograms
from attention_analyzer.progress import OnProgress
from attention_analyzer.text.tokenization import Pair

#: Texts that each further measure looks at, taken evenly from all: of metrics and labels, of likeness, of knock-outs.
MEASURED, COMPARED, KNOCKED_OUT = 200, 24, 12
#: Nearest heads that are named.
SIMILAR = 5
#: Metrics that the map can show, beside those of programs.
METRICS = (
    "entropy", "normalized_entropy", "effective_keys", "distance", "max_weight", "self_weight", "previous_weight",
    "next_weight", "first_weight", "special_weight", "separator_weight", "punctuation_weight", "local_weight",
)  # fmt: skip
_KEYS = ["stack", "kind", "layer", "head"]


@dataclass(frozen=True)
class AtlasModel:
    """One model: its name, what is said of it as a whole, and its heads as entries that JSON can hold."""

    name: str
    facts: tuple[str, ...]
    heads: list[dict[str, Any]]


def atlas_model(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    *,
    seed: int = 0,
    truncate: bool = False,
    progress: OnProgress | None = None,
) -> AtlasModel:
    """Everything that is shown of a model.

    Args:
        progress: called with how many texts are done for the programs, and how many there are.

    Raises:
        InputError: too few texts.
    """
    found = programs(loaded, texts, seed=seed, truncate=truncate, progress=progress)
    few = _evenly(texts, MEASURED)
    metrics = depth_profile(loaded, few, truncate=truncate).heads.set_index(_KEYS)
    labels = label_heads(loaded, few, truncate=truncate, seed=seed)
    effect = _unless_unsupported(
        lambda: head_importance(loaded, _evenly(texts, KNOCKED_OUT), "ablation", truncate=truncate, seed=seed)
    )
    sites = found.fitted.sites
    examples = examples_of(loaded, list(texts)[1::2], found.by_text, sites, truncate=truncate)
    several = len({(site.stack, site.kind) for site in sites}) > 1
    alike = _alike(loaded, _evenly(texts, max(COMPARED, FEWEST_ALIKE)), found, truncate)
    heads = [
        _entry(row, number, found, metrics, labels, effect, several)
        | {"similar": alike[number], "examples": examples[number]}
        for number, row in enumerate(found.table.itertuples())
    ]
    return AtlasModel(loaded.name, found.facts(), heads)


def head_name(row: Any, several: bool) -> str:
    """``L2H5``, with its place where the model has several kinds of attention; it is a file's name, too."""
    return f"{row.stack}-{row.kind}-L{row.layer}H{row.head}" if several else f"L{row.layer}H{row.head}"


def _entry(
    row: Any,
    number: int,
    found: HeadPrograms,
    metrics: pd.DataFrame,
    labels: HeadLabels,
    effect: HeadImportance | None,
    several: bool,
) -> dict[str, Any]:
    key = (row.stack, row.kind, row.layer, row.head)
    terms = found.terms[(found.terms[_KEYS] == pd.Series(dict(zip(_KEYS, key, strict=True)))).all(axis=1)]
    named = labels.labels[(labels.labels[_KEYS] == pd.Series(dict(zip(_KEYS, key, strict=True)))).all(axis=1)]
    measured = metrics.loc[key]
    entry = {
        "name": head_name(row, several),
        **dict(zip(_KEYS, map(_plain, key), strict=True)),
        "sentence": row.sentence,
        "above_controls": bool(row.above),
        "labels": list(dict.fromkeys(named["pattern"])),
        "numbers": {
            name: _plain(getattr(row, name))
            for name in ("explained", "low", "high", "even", "shuffled", "other", "r2", "iou", "js")
        }
        | {name: _plain(measured[name]) for name in METRICS if name in measured},
        "terms": [
            {name: _plain(value) for name, value in zip(("condition", "rule", "weight", "share"), each, strict=True)}
            for each in terms[["condition", "rule", "weight", "share"]].itertuples(index=False)
        ],
        "deciles": deciles_of(found.by_text[:, number]),
    }
    if effect is not None:
        of_head = effect.table.iloc[number]
        entry["knock_out"] = {name: _plain(of_head[name]) for name in ("importance", "low", "high")} | {
            "of": effect.meaning
        }
        entry["numbers"]["knock_out"] = _plain(of_head["importance"])
    return entry


def _alike(
    loaded: LoadedModel, texts: Sequence[str | Pair], found: HeadPrograms, truncate: bool
) -> list[list[dict[str, Any]]]:
    """The nearest heads of each, among those of its own stack and kind."""
    several = found.table[["stack", "kind"]].drop_duplicates()
    result: list[list[dict[str, Any]]] = [[] for _ in range(len(found.table))]
    for stack, kind in several.itertuples(index=False):
        rows = np.flatnonzero((found.table["stack"] == stack) & (found.table["kind"] == kind))
        try:
            distances = similarity(loaded, texts, stack=stack, kind=kind, truncate=truncate).distances.to_numpy()
        except InputError:  # fewer than three heads, or layers whose axes differ: there is nothing to compare
            continue
        names = [head_name(row, len(several) > 1) for row in found.table.iloc[rows].itertuples()]
        for place, row in enumerate(rows):
            order = [other for other in np.argsort(distances[place], kind="stable").tolist() if other != place][
                :SIMILAR
            ]
            result[row] = [
                {"name": names[other], "distance": round(float(distances[place, other]), 4)} for other in order
            ]
    return result


def _evenly(texts: Sequence[str | Pair], most: int) -> list[str | Pair]:
    step = max(1, len(texts) // most)
    return list(texts)[::step][:most]


def _unless_unsupported(make: Callable[[], HeadImportance]) -> HeadImportance | None:
    try:
        return make()
    except UnsupportedModelError:
        return None


def _plain(value: Any) -> Any:
    """A number of Python, rounded; None where it is undefined."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    return None if value != value else float(f"{float(value):.5g}")  # noqa: PLR0124 (NaN is not itself)
