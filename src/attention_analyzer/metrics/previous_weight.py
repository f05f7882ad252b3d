from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import OffsetWeight, Statistics


class PreviousWeight(Metric):
    """Mean weight on the token just before, over the queries that have one (Clark et al. 2019, §3.1).

    NaN for cross-attention.
    """

    name = "previous_weight"
    unit = "weight"
    needs = (OffsetWeight(-1),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
