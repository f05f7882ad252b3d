from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import Entropy, Statistics


class NormalizedEntropy(Metric):
    """Mean of each row's entropy over the largest it could be, ``log`` of the number of keys it sees.

    0 is focused, 1 uniform. Rows that see a single key have no choice and do not count.
    """

    name = "normalized_entropy"
    unit = ""
    needs = (Entropy(),)

    def value(self, statistics: Statistics) -> Tensor:
        visible = statistics.axes.visible
        entropy = statistics[self.needs[0]]
        share = entropy / visible.clamp(min=2).to(entropy.dtype).log()
        return statistics.mean_over_queries(share, choosing=True)
