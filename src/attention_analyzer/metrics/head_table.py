"""Head tables: one row per site and head, one column per metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from attention_analyzer.metrics import METRICS, Metric
from attention_analyzer.site import Site
from attention_analyzer.weights.reductions import Reduction, Statistics

if TYPE_CHECKING:
    from attention_analyzer.record import AttentionRecord

#: The columns that say which head a row is about.
HEAD_KEYS = ("stack", "kind", "layer", "head")


def needs_of(metrics: Sequence[Metric]) -> tuple[Reduction, ...]:
    """Everything that these metrics ask a pass to gather, each once."""
    return tuple(dict.fromkeys(need for metric in metrics for need in metric.needs))


def evaluate(statistics: Statistics, metrics: Sequence[Metric]) -> dict[str, Tensor]:
    """Each metric's value per head, ``[batch, head]``."""
    return {metric.name: metric.value(statistics) for metric in metrics}


def head_table(record: AttentionRecord, metrics: Sequence[Metric] | None = None) -> pd.DataFrame:
    """The table of a record; see :meth:`AttentionRecord.heads`."""
    if metrics is None:
        return record.once("head table", lambda: _head_table(record, METRICS)).copy()
    return _head_table(record, tuple(metrics))


def _head_table(record: AttentionRecord, metrics: Sequence[Metric]) -> pd.DataFrame:
    needs = needs_of(metrics)
    values = [(entry.site, evaluate(entry.reduce(needs), metrics)) for entry in record.entries]
    return table_of(values, text=0)


def table_of(values: Sequence[tuple[Site, Mapping[str, Tensor]]], text: int) -> pd.DataFrame:
    """Rows for one text of a batch from the sites' metric values ``[batch, head]``."""
    frames = [
        pd.DataFrame(
            {"stack": site.stack, "kind": site.kind, "layer": site.layer, "head": range(site.heads)}
            | {name: value[text].double().cpu().numpy() for name, value in by_name.items()}
        )
        for site, by_name in values
    ]
    return pd.concat(frames, ignore_index=True)
