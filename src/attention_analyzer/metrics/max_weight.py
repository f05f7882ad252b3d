from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import LargestWeight, Statistics


class MaxWeight(Metric):
    """The largest weight of the head, over all cells."""

    name = "max_weight"
    unit = "weight"
    needs = (LargestWeight(),)

    def value(self, statistics: Statistics) -> Tensor:
        return torch.where(statistics.valid, statistics[self.needs[0]], -torch.inf).amax(-1)
