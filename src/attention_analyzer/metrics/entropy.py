from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import Entropy, Statistics


class MeanEntropy(Metric):
    """Mean Shannon entropy of the rows, ``-Σ_j a_ij log a_ij`` (Clark et al. 2019, §3.3: broad and focused heads)."""

    name = "entropy"
    unit = "nats"
    needs = (Entropy(),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean(self.needs[0])
