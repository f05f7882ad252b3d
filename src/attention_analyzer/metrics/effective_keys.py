from __future__ import annotations

from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import Entropy, Statistics


class EffectiveKeys(Metric):
    """Effective number of keys a query looks at: mean of ``exp(entropy)``, a row's perplexity (Hill, order 1)."""

    name = "effective_keys"
    unit = "keys"
    needs = (Entropy(),)

    def value(self, statistics: Statistics) -> Tensor:
        return statistics.mean_over_queries(statistics[self.needs[0]].exp())
