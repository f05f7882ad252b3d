"""What becomes of each text while some heads say nothing: its loss, its predictions, or a metric of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.heads.eval_batches import Trial, measured_in_words
from attention_analyzer.interventions.apply import Plan, run_altered
from attention_analyzer.interventions.edits import HeadChange
from attention_analyzer.interventions.means import MeanOutputs
from attention_analyzer.interventions.selection import Head
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter

#: ``metric(outputs, inputs) -> [text]``: a number for each text of a batch.
Metric = Callable[[Any, Mapping[str, Any]], Any]
#: "loss" (for a model without a head its stand-in), "logits" (KL divergence from the untouched predictions), or a
#: metric.
Measure = str | Metric


def measures_while_silent(
    loaded: LoadedModel,
    trials: Sequence[Trial],
    sets: Sequence[Sequence[Head]],
    *,
    measure: Measure = "loss",
    means: MeanOutputs | None = None,
    progress: OnProgress | None = None,
) -> Tensor:
    """``[set, text]``, float64: the measure of every text while the heads of a set are silent together.

    Args:
        sets: an empty one is the untouched model.
        means: the heads' mean outputs, if they give those instead of zero.
        progress: called with how many forwards are done and how many there are.

    Raises:
        InputError: there is no such measure, or a metric gives something else than a number for each text.
    """
    plans = [same_for_all(ablation_plan(heads, means)) for heads in sets]
    return measures_while_changed(loaded, trials, plans, measure=measure, progress=progress)


def same_for_all(plan: Plan) -> Callable[[Trial], Plan]:
    """A plan that does not depend on the batch."""
    return lambda _: plan


def measures_while_changed(
    loaded: LoadedModel,
    trials: Sequence[Trial],
    plans: Sequence[Callable[[Trial], Plan]],
    *,
    measure: Measure = "loss",
    progress: OnProgress | None = None,
) -> Tensor:
    """``[plan, text]``, float64: the measure of every text while heads are changed as a plan says for its batch.

    Raises:
        InputError: there is no such measure, or a metric gives something else than a number for each text.
    """
    check_measure(measure, trials[0])
    steps = ProgressCounter(len(plans) * len(trials), progress)
    columns = []
    for trial in trials:
        before = run_altered(loaded, trial.inputs, trial.order, {}) if measure == "logits" else None
        column = []
        for plan in plans:
            after = run_altered(loaded, trial.inputs, trial.order, plan(trial))
            column.append(_measured(after, before, trial, measure))
            steps.advance()
        columns.append(torch.stack(column))
    return torch.cat(columns, dim=1)


def check_measure(measure: Measure, trial: Trial) -> None:
    """Refuse a measure before any work is done for it.

    Raises:
        InputError: there is none of that name, or the model has no logits.
    """
    if not callable(measure) and measure not in ("loss", "logits"):
        raise InputError(f"There is no measure {measure!r}; 'loss', 'logits' or a function of your own was expected.")
    if measure == "logits" and trial.task == "representation":
        raise InputError("This model has no logits; measure='loss' is the change of its hidden states.")


def measure_in_words(measure: Measure, trial: Trial) -> str:
    """What is measured, for a table's title or a figure's axis."""
    if callable(measure):
        return getattr(measure, "__name__", "metric").replace("_", " ")
    return "KL divergence of the predictions (nats)" if measure == "logits" else measured_in_words(trial.task)


def ablation_plan(heads: Sequence[Head], means: MeanOutputs | None) -> Plan:
    """Heads that give zero, or their mean outputs."""
    plan: dict[str, dict[int, HeadChange]] = {}
    for site, head in heads:
        output = torch.zeros(()) if means is None else means.of(site, head)
        plan.setdefault(site.name, {})[head] = HeadChange(output=output)
    return plan


def _measured(outputs: Any, before: Any, trial: Trial, measure: Measure) -> Tensor:
    if measure == "loss":
        return trial.measure(outputs).double().cpu()
    if measure == "logits":
        return _divergence(before.logits, outputs.logits, trial.valid)
    assert callable(measure)
    numbers = torch.as_tensor(measure(outputs, trial.inputs)).detach().double().cpu().flatten()
    if len(numbers) != trial.texts:
        raise InputError(
            f"The metric gave {len(numbers)} numbers for {trial.texts} texts; metric(outputs, inputs) returns one "
            "per text."
        )
    return numbers


def _divergence(before: Tensor, after: Tensor, valid: Tensor) -> Tensor:
    """``[text]``: ``KL(before ‖ after)``, over a text's positions their mean."""
    old, new = before.double().log_softmax(-1), after.double().log_softmax(-1)
    divergence = torch.where(old > -torch.inf, old.exp() * (old - new), 0.0).sum(-1).clamp(min=0)
    if divergence.dim() == 2:
        divergence = (divergence * valid).sum(-1) / valid.sum(-1)
    return divergence.cpu()
