from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.weights.reductions import Entropy, Statistics, TotalWeight


class Broad(Pattern):
    """Over how much of what it sees a query spreads: ``exp(entropy) / visible keys``, 1 for uniform weights.

    (Clark et al. 2019, §3.3: broad heads.) Where a sink takes a share of the row, what is left is brought to a sum of
    one first.
    """

    name = "broad"
    title = "spreads attention evenly"
    has_chance = False
    needs = (Entropy(), TotalWeight())

    def values(self, results: Statistics) -> Tensor:
        total = results[self.needs[1]]
        entropy = results[self.needs[0]] / total + total.log()
        visible = results.axes.visible
        return (entropy.exp() / visible).clamp(max=1)
