from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import GroupWeight, Statistics


class FirstWeight(Metric):
    """Mean weight on the first token of the text, the usual place of an attention sink (Xiao et al. 2023, §3.1)."""

    name = "first_weight"
    unit = "weight"
    needs = (GroupWeight("first"),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
