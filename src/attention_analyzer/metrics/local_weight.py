from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import Statistics, WindowWeight


class LocalWeight(Metric):
    """Mean weight on the tokens at most two away, the token itself included. NaN for cross-attention."""

    name = "local_weight"
    unit = "weight"
    needs = (WindowWeight(2),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
