from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import OffsetWeight, Statistics


class NextWeight(Metric):
    """Mean weight on the token just after, over the queries that have one (Clark et al. 2019, §3.1).

    0 under a causal mask, NaN for cross-attention.
    """

    name = "next_weight"
    unit = "weight"
    needs = (OffsetWeight(1),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
