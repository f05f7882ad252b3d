"""Head tables: one row per site and head, one column per metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.metrics.chosen import chosen_metrics
from attention_analyzer.site import Site
from attention_analyzer.weights.reductions import Reduction, Statistics
from attention_analyzer.weights.stacked import reduce_together

if TYPE_CHECKING:
    from attention_analyzer.captured import CapturedAttention

#: The columns that say which head a row is about.
HEAD_KEYS = ("stack", "kind", "layer", "head")


def needs_of(metrics: Sequence[Metric]) -> tuple[Reduction, ...]:
    """Everything that these metrics ask a pass to gather, each once."""
    return tuple(dict.fromkeys(need for metric in metrics for need in metric.needs))


def evaluate(statistics: Statistics, metrics: Sequence[Metric]) -> dict[str, Tensor]:
    """Each metric's value per head, ``[batch, head]``. Sites that were reduced together are evaluated together."""
    if statistics.whole is None:
        return {metric.name: metric.value(statistics) for metric in metrics}
    whole, rows = statistics.whole
    return {metric.name: whole.once(metric.name, partial(metric.value, whole))[rows] for metric in metrics}


def head_table(record: CapturedAttention, metrics: Sequence[Metric | str] | None = None) -> pd.DataFrame:
    """The table of a record; see :meth:`AttentionRecord.heads`."""
    if metrics is None:
        return record.once("head table", lambda: _head_table(record, METRICS)).copy()
    return _head_table(record, chosen_metrics(metrics))


def _head_table(record: CapturedAttention, metrics: Sequence[Metric]) -> pd.DataFrame:
    statistics = reduce_together([entry.task for entry in record.entries], needs_of(metrics))
    numbers = torch.cat([_numbers(each, metrics)[:, 0].double().cpu() for each in statistics], 1)
    return _table([entry.site for entry in record.entries], [metric.name for metric in metrics], numbers)


def _numbers(statistics: Statistics, metrics: Sequence[Metric]) -> Tensor:
    """All metrics' values, ``[metric, batch, head]``; sites that were reduced together are evaluated together."""
    if statistics.whole is None:
        return torch.stack([metric.value(statistics) for metric in metrics])
    whole, rows = statistics.whole
    name = " ".join(metric.name for metric in metrics)
    return whole.once(name, lambda: torch.stack([metric.value(whole) for metric in metrics]))[:, rows]


def table_of(values: Sequence[tuple[Site, Mapping[str, Tensor]]], text: int) -> pd.DataFrame:
    """Rows for one text of a batch from the sites' metric values ``[batch, head]``."""
    names = list(values[0][1])
    by_site = [torch.stack([by_name[name][text].double() for name in names]).cpu() for _, by_name in values]
    return _table([site for site, _ in values], names, torch.cat(by_site, 1))


def _table(sites: Sequence[Site], names: Sequence[str], numbers: Tensor) -> pd.DataFrame:
    """The table of ``numbers [metric, head]``, which are of the heads of all sites in order."""
    counts = [site.heads for site in sites]
    columns: dict[str, Any] = {
        key: np.repeat(np.array([getattr(site, key) for site in sites], dtype=kind), counts)
        for key, kind in (("stack", object), ("kind", object), ("layer", np.int64))
    }
    columns["head"] = np.concatenate([np.arange(count) for count in counts])
    return pd.DataFrame(columns | dict(zip(names, numbers.numpy(), strict=True)))
