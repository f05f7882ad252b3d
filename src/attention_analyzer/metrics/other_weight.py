from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import OffsetWeight, Statistics, TotalWeight


class OtherWeight(Metric):
    """Mean weight of a token on all other tokens: the row's sum without the diagonal. NaN for cross-attention."""

    name = "other_weight"
    unit = "weight"
    needs = (
        OffsetWeight(0),
        TotalWeight(),
    )

    def value(self, statistics: Statistics) -> Tensor:
        on_itself, total = (statistics[need] for need in self.needs)
        return statistics.mean_over_queries(total - on_itself)
