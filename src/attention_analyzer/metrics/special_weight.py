from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import GroupWeight, Statistics


class SpecialWeight(Metric):
    """Mean weight on tokens that the tokenizer added ([CLS], [SEP], <s> …) together (Clark et al. 2019, §3.2)."""

    name = "special_weight"
    unit = "weight"
    needs = (GroupWeight("special"),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
