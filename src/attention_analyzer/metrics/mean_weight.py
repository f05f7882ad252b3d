from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import Statistics, TotalWeight


class MeanWeight(Metric):
    """Mean weight over all cells that queries see; one over the number of keys where nothing is masked."""

    name = "mean_weight"
    unit = "weight"
    needs = (TotalWeight(),)

    def value(self, statistics: Statistics) -> Tensor:
        total = torch.where(statistics.valid, statistics[self.needs[0]], 0).sum(-1)
        visible = torch.where(statistics.valid, statistics.axes.visible, 0).sum(-1)
        return total / visible
