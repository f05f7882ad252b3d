"""The metrics that a caller chose, by themselves or by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attention_analyzer.errors import InputError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.metric import Metric


def chosen_metrics(metrics: Sequence[Metric | str] | None) -> tuple[Metric, ...]:
    """Every metric that was chosen, once; all of :data:`.METRICS` for None.

    Raises:
        InputError: something in it is neither a metric nor the name of one, or nothing is in it.
    """
    if metrics is None:
        return METRICS
    given: Any = metrics
    listed: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    named = {metric.name: metric for metric in METRICS}
    found: list[Any] = [named.get(each, each) if isinstance(each, str) else each for each in listed]
    wrong = [each for each in found if not isinstance(each, Metric)]
    if wrong or not found:
        shown = repr(wrong[0])[:80] if wrong else "none"
        raise InputError(f"Metrics are chosen by name or as such (from {', '.join(named)}), but {shown} was given.")
    return tuple(dict.fromkeys(found))
