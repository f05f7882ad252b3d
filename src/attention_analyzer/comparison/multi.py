"""Three models or more: a table and small multiples by depth, and how far each two of them are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attention_analyzer.arguments import explain
from attention_analyzer.comparison.comparison import CHANGES, Comparison, compare, shown_name
from attention_analyzer.comparison.inputs import loaded_of
from attention_analyzer.deprecation import renamed_names
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.metrics.head_table import head_table
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import record_texts
from attention_analyzer.result import Result
from attention_analyzer.text.chat import listed_texts
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class MultiModelComparison(Result):
    """Several models on the same texts.

    Attributes:
        names, fingerprints: of the models, in the order given.
        layers: one row per model and layer: ``model, stack, kind, layer, depth`` (0 for the first layer, 1 for the
            last) and the mean over heads and texts of every metric.
        heads: the same head by head, with ``head``.
        divergence: mean divergence in nats of the heads of each two models, ``[model, model]``.
        matched: how many heads of the row's model are matched with one of the column's.
    """

    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    layers: pd.DataFrame = field(repr=False)
    heads: pd.DataFrame = field(repr=False)
    divergence: pd.DataFrame = field(repr=False)
    matched: pd.DataFrame = field(repr=False)

    def plot(self, metrics: Sequence[str] = CHANGES) -> Figure:  # type: ignore[override]
        """Small multiples: one panel per metric, one line per model, by depth.

        Raises:
            SelectionError: there is no such metric.
        """
        return self.figure(metrics=metrics)

    def facts(self) -> tuple[str, ...]:
        return (f"{len(self.names)} models, {len(self.heads)} heads",)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`layers`."""
        return self.layers

    @property
    def subject(self) -> str:
        return ", ".join(self.names)


@explain
def compare_models(
    models: Sequence[Any],
    *,
    texts: str | Pair | Sequence[str | Pair],
    truncate: bool = False,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> MultiModelComparison:
    """Compare any number of models on the same texts.

    Args:
        models: each as in :func:`.comparison.compare`.
        errors: "raise", or "skip" to leave out texts that one of the models cannot use and list them in ``problems``.
        progress: called with how many texts were read or compared and how many there are, over all models and pairs.

    Raises:
        InputError: fewer than two models, or no texts.
    """
    loaded = [loaded_of(model) for model in models]
    if len(loaded) < 2:
        raise InputError(f"At least two models are needed for a comparison, not {len(loaded)}.")
    listed = listed_texts(texts)
    if not listed:
        raise InputError("No texts were given; at least one is needed.")
    kept = usable_texts(loaded, listed, errors=errors, truncate=truncate)
    listed = kept.texts
    pairs = list(combinations(range(len(loaded)), 2))
    steps = ProgressCounter((len(loaded) + len(pairs)) * len(listed), progress)
    names = _names([shown_name(each.name) for each in loaded])
    frames = []
    for name, each in zip(names, loaded, strict=True):
        for text in listed:
            frames.append(head_table(record_texts(each, [text], truncate=truncate)[0]).assign(model=name))
            steps.advance()
    keys = ["model", "stack", "kind", "layer"]
    heads = pd.concat(frames).groupby([*keys, "head"], sort=False, as_index=False).mean()
    layers = heads.drop(columns="head").groupby(keys, sort=False, as_index=False).mean()
    last = layers.groupby(["model", "stack", "kind"])["layer"].transform("max")
    layers.insert(4, "depth", (layers["layer"] / last.where(last > 0, 1)).astype(float))
    divergence, matched = np.zeros((len(loaded),) * 2), np.zeros((len(loaded),) * 2, int)
    for i, j in pairs:
        found: Comparison = compare(
            loaded[i], loaded[j], texts=listed, truncate=truncate, progress=steps.within(len(listed))
        )
        divergence[i, j] = divergence[j, i] = found.divergence
        matched[i, j] = matched[j, i] = int(found.matching.table["matched"].sum())
    for i, name in enumerate(names):
        matched[i, i] = int((heads["model"] == name).sum())
    square = {"index": list(names), "columns": list(names)}
    result = MultiModelComparison(
        names=names,
        fingerprints=tuple(each.fingerprint for each in loaded),
        layers=layers,
        heads=heads,
        divergence=pd.DataFrame(divergence, **square),
        matched=pd.DataFrame(matched, **square),
    )
    return kept.noted(result)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Each name once: what comes again is numbered."""
    return tuple(
        name if names.count(name) == 1 else f"{name} #{names[:i].count(name) + 1}" for i, name in enumerate(names)
    )


__getattr__ = renamed_names(__name__, {"SeveralModels": "MultiModelComparison", "compare_several": "compare_models"})
