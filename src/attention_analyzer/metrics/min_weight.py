from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import SmallestWeight, Statistics


class MinWeight(Metric):
    """The smallest weight of the head, over all cells that queries see."""

    name = "min_weight"
    unit = "weight"
    needs = (SmallestWeight(),)

    def value(self, statistics: Statistics) -> Tensor:
        return torch.where(statistics.valid, statistics[self.needs[0]], torch.inf).amin(-1)
