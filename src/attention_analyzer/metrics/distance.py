from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import Distance, Statistics


class MeanDistance(Metric):
    """Mean distance in tokens between a query and what it looks at, ``Σ_j a_ij |i - j|`` over the row's sum
    (Vig & Belinkov 2019, §4.2). NaN for cross-attention, whose axes hold different tokens.
    """

    name = "distance"
    unit = "tokens"
    needs = (Distance(),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
