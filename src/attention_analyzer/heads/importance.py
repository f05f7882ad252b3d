"""How much the model needs each head: by the gradient of its loss, or or by ablating heads and looking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.deprecation import renamed_arguments
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.heads.ablation import Measure, check_measure, measure_in_words, measures_while_silent
from attention_analyzer.heads.eval_batches import Trial, trials_of, usable_trials
from attention_analyzer.heads.gradient import gradients
from attention_analyzer.interventions.means import MeanOutputs, mean_outputs
from attention_analyzer.interventions.plan import Ablation
from attention_analyzer.interventions.selection import Head, Selector, head_name, select_heads
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress
from attention_analyzer.recording import BATCH
from attention_analyzer.result import Basis, Result
from attention_analyzer.site import Site
from attention_analyzer.stats import bootstrap_interval
from attention_analyzer.text.tokenization import Pair

if TYPE_CHECKING:
    pass

Method = Literal["gradient", "ablation"]


@dataclass(frozen=True, repr=False)
class HeadImportance(Result):
    """How much each head matters.

    Attributes:
        table: one row per head (or set of heads): ``heads`` (its name), ``stack, kind, layer, head`` (of single heads),
            ``importance`` and its 95 % interval over texts, ``low`` and ``high``; by gradient also ``normalized``,
            the importance over the root of the layer's sum of squares.
        method: "gradient": ``E|o · ∂L/∂o|``, never negative; "ablation": the measure with the heads silent minus the
            measure of the untouched model, so that a head that helps has a positive importance for a loss.
        measure: what is measured, in words.
        plain: mean of the measure on the untouched model.
        texts: how many were looked at.
        by_text: ``[text, row]``, what the means are over.
    """

    table: pd.DataFrame = field(compare=False)
    method: Method
    measure: str
    plain: float
    texts: int
    by_text: Tensor = field(repr=False, compare=False)
    model_name: str = ""

    @property
    def meaning(self) -> str:
        """What the numbers are, in words."""
        if self.method == "gradient":
            return "gradient importance, normalized per layer"
        return self.measure if self.measure.startswith("KL") else f"change of the {self.measure} when ablated"

    def basis(self) -> Basis:
        return Basis(self.texts)

    def facts(self) -> tuple[str, ...]:
        top = self.table.nlargest(3, "importance")
        named = ", ".join(f"{row.heads} {row.importance:.3g}" for row in top.itertuples())
        return f"{self.meaning}; {self.texts} texts", f"{len(self.table)} rows; highest: {named}"

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


@renamed_arguments(names={"silence_with": "ablation"}, values={"method": {"silence": "ablation"}})
def head_importance(
    loaded: LoadedModel,
    texts: Sequence[str | Pair],
    method: Method = "gradient",
    *,
    heads: Iterable[Selector] | None = None,
    measure: Measure = "loss",
    ablation: Ablation = "zero",
    reference: Sequence[str | Pair] = (),
    labels: Sequence[int | str] | None = None,
    seed: int = 0,
    truncate: bool = False,
    batch_size: int = BATCH,
    errors: OnError = "raise",
    progress: OnProgress | None = None,
) -> HeadImportance:
    """Importance of every head, or of sets of heads; the loss is defined by the kind of model, see :mod:`.trials`.

    Args:
        texts: pairs of source and target for an encoder–decoder; the more, the narrower the intervals.
        method: "gradient" (one forward and backward a batch; Michel et al. 2019) or "ablation" (a forward a batch for
            every head).
        heads: to be ablated; each selector (``"L2H5"``, ``"L4H2-3"``, ``"L2"``) is one set, silent together. By
            default every head alone.
        measure: by ablation: "loss", "logits" (the predictions' KL divergence from the untouched ones), or a function
            ``metric(outputs, inputs)`` that gives a number for each text of a batch.
        ablation: "zero", or "mean": the head's mean output over the tokens of ``reference`` (by default ``texts``).
        labels: a classifier's classes, one a text.
        seed: of the tokens that a masked language model has to guess.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        progress: called with how much is done and how much there is.

    Raises:
        InputError, SelectionError: an argument cannot be used.
        UnsupportedModelError: attention that cannot be altered; by gradient also a model without a loss.
    """
    if method not in ("gradient", "ablation"):
        raise InputError(f"Importance is measured by 'gradient' or 'ablation', not by {method!r}.")
    if method == "gradient" and (heads is not None or measure != "loss" or ablation != "zero"):
        raise InputError("heads, measure and ablation apply only to the method ablation.")
    if ablation not in ("zero", "mean"):
        raise InputError(f"Heads are ablated with 'zero' or 'mean', not {ablation!r}.")
    kept = usable_trials(loaded, texts, labels, errors=errors, truncate=truncate)
    texts, labels = kept.texts, kept.of(labels)
    trials = trials_of(loaded, texts, labels=labels, seed=seed, truncate=truncate, batch_size=batch_size)
    sites = trials[0].order.sites
    if method == "gradient":
        return kept.noted(_by_gradient(loaded, trials, sites, progress))
    check_measure(measure, trials[0])
    sets = [[head] for head in all_heads(sites)] if heads is None else [select_heads(each, sites) for each in heads]
    names = [head_name(each[0], sites) for each in sets] if heads is None else [_set_name(each) for each in heads]
    means = mean_outputs(loaded, list(reference) or texts, batch_size=batch_size) if ablation == "mean" else None
    return kept.noted(_by_ablation(loaded, trials, sets, names, measure, means, progress))


def all_heads(sites: Sequence[Site]) -> list[Head]:
    return [(site, head) for site in sites for head in range(site.heads)]


def _by_gradient(
    loaded: LoadedModel,
    trials: list[Trial],
    sites: Sequence[Site],
    progress: OnProgress | None,
) -> HeadImportance:
    found = gradients(loaded, trials, progress).abs()
    heads = all_heads(sites)
    table = _table(found, [head_name(head, sites) for head in heads], [[head] for head in heads])
    squares = table.assign(square=table["importance"] ** 2).groupby(["stack", "kind", "layer"], sort=False)["square"]
    length = np.sqrt(squares.transform("sum"))
    table["normalized"] = np.where(length > 0, table["importance"] / length.where(length > 0, 1), 0.0)
    plain = measures_while_silent(loaded, trials, [[]])[0]
    measure = measure_in_words("loss", trials[0])
    return HeadImportance(table, "gradient", measure, float(plain.mean()), len(plain), found, loaded.name)


def _by_ablation(
    loaded: LoadedModel,
    trials: list[Trial],
    sets: Sequence[Sequence[Head]],
    names: Sequence[str],
    measure: Measure,
    means: MeanOutputs | None,
    progress: OnProgress | None,
) -> HeadImportance:
    measured = measures_while_silent(loaded, trials, [[], *sets], measure=measure, means=means, progress=progress)
    plain, effects = measured[0], (measured[1:] - measured[0]).T
    words = measure_in_words(measure, trials[0])
    return HeadImportance(
        _table(effects, names, sets), "ablation", words, float(plain.mean()), len(plain), effects, loaded.name
    )


def _table(by_text: Tensor, names: Sequence[str], sets: Sequence[Sequence[Head]]) -> pd.DataFrame:
    values = by_text.numpy()
    low, high = bootstrap_interval(values)
    single = [each[0] if len(each) == 1 else None for each in sets]
    return pd.DataFrame(
        {
            "heads": list(names),
            "stack": [head[0].stack if head else "" for head in single],
            "kind": [head[0].kind if head else "" for head in single],
            "layer": pd.array([head[0].layer if head else None for head in single], dtype="Int64"),
            "head": pd.array([head[1] if head else None for head in single], dtype="Int64"),
            "importance": values.mean(0),
            "low": low,
            "high": high,
        }
    )


def _set_name(selector: Selector) -> str:
    return selector if isinstance(selector, str) else f"L{selector[0]}H{selector[1]}"


def ranked(importance: HeadImportance, sites: Sequence[Site]) -> list[Head]:
    """Heads by rising importance: by gradient the normalized one, as published."""
    column = "normalized" if importance.method == "gradient" else "importance"
    order = torch.tensor(importance.table[column].to_numpy()).argsort(stable=True)
    heads = all_heads(sites)
    return [heads[index] for index in order.tolist()]
