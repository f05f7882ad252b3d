from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import OffsetWeight, Statistics


class SelfWeight(Metric):
    """Mean weight of a token on itself, the diagonal. NaN for cross-attention."""

    name = "self_weight"
    unit = "weight"
    needs = (OffsetWeight(0),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
