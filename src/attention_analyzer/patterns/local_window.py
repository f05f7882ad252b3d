from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern, mean_over_choices
from attention_analyzer.weights.reductions import Statistics, WindowWeight

WIDTH = 2


class LocalWindow(Pattern):
    """Mean weight on the tokens at most two away, the token itself included (as in Beltagy et al. 2020: local windows).

    Its position-matched control is the weight on the ring just outside, three to five tokens away.
    """

    name = "local_window"
    title = "looks at its close neighbors"
    place = "within two tokens"
    threshold = 0.75
    needs = (WindowWeight(WIDTH), WindowWeight(2 * WIDTH + 1))

    def values(self, results: Statistics) -> Tensor:
        return results[self.needs[0]]

    def beside(self, results: Statistics) -> Tensor | None:
        return mean_over_choices(results, results[self.needs[1]]) - self.strength(results)
