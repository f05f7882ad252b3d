from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern, mean_over_choices
from attention_analyzer.weights.reductions import Statistics, StrongestKey


class Retrieval(Pattern):
    """Share of the tokens to be copied from a far place that the head's strongest key points at (Wu et al. 2024).

    Only on a text with a needle (:mod:`.probes`): labels ``needle`` name, for a query, the token that comes next, and
    for a key of the needle its own token.
    """

    name = "retrieval"
    title = "retrieves a token to copy from far back"
    threshold = 0.1
    needs = (StrongestKey(),)
    labels = ("needle",)

    def strength(self, results: Statistics) -> Tensor:
        of_queries, of_keys = (part.expand(results.axes.batch, -1) for part in results.axes.labels[self.labels[0]])
        strongest = results[self.needs[0]]
        pointed = of_keys[:, None].expand(-1, strongest.shape[1], -1).gather(-1, strongest.nan_to_num(0).long())
        hits = (pointed == of_queries[:, None]).to(strongest.dtype)
        return mean_over_choices(results, hits.masked_fill((of_queries < 0)[:, None], float("nan")))
