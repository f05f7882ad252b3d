from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.weights.reductions import MatchWeight, Statistics


class DuplicateToken(Pattern):
    """Mean weight on the same token at other positions, over the queries that see one (Wang et al. 2022)."""

    name = "duplicate_token"
    title = "looks at the same token elsewhere"
    place = "on the same token elsewhere"
    threshold = 0.4
    moves = True
    needs = (MatchWeight("token", "other"),)

    def values(self, results: Statistics) -> Tensor:
        return results[self.needs[0]]
