from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import LargestWeight, Statistics


class Confidence(Metric):
    """Mean of the largest weight of each row (Voita et al. 2019, §4; they leave out the end-of-sequence row)."""

    name = "confidence"
    unit = "weight"
    needs = (LargestWeight(),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
