from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import GroupWeight, Statistics


class PunctuationWeight(Metric):
    """Mean weight on punctuation (pieces of Unicode category P only) together (Clark et al. 2019, §3.2)."""

    name = "punctuation_weight"
    unit = "weight"
    needs = (GroupWeight("punctuation"),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
