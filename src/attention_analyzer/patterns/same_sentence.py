from __future__ import annotations

from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.weights.reductions import MatchWeight, Statistics


class SameSentence(Pattern):
    """Mean weight on the tokens of the query's own sentence, itself included: blocks on the diagonal.

    (Kovaleva et al. 2019, §4.1.) Without meaning in a text of one sentence.
    """

    name = "same_sentence"
    title = "stays inside the sentence"
    place = "inside the sentence"
    threshold = 0.75
    moves = True
    needs = (MatchWeight("sentence", "all"),)

    def values(self, results: Statistics) -> Tensor:
        return results[self.needs[0]]
