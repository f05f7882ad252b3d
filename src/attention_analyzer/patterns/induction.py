from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.weights.reductions import MatchWeight, Statistics


class Induction(Pattern):
    """Prefix matching: mean weight on the tokens that followed earlier occurrences of the query's token.

    Over the queries whose token occurred before (Olsson et al. 2022). On natural text few queries have one and what
    followed is often common; random tokens that repeat show it best (:mod:`.probes`).
    """

    name = "induction"
    title = "looks at what followed the same token before"
    place = "on what followed the same token before"
    threshold = 0.4
    moves = True
    needs = (MatchWeight("token_before", "earlier"),)

    def values(self, results: Statistics) -> Tensor:
        return results[self.needs[0]]
