from __future__ import annotations

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.propagation import column_sum
from attention_analyzer.errors import UnsupportedModelError


class LastLayer(Attribution):
    """Weights of the last layer alone, mean over its heads, from where the prediction is read.

    Of an encoder–decoder it is the last cross-attention. Higher layers mix tokens, so these weights say little about
    the text's own tokens (Abnar & Zuidema 2020, §3); they are here to be compared with.
    """

    name = "last_layer"
    title = "weights of the last layer"

    def find(self, question: Question) -> RawAttribution:
        fitting = [at for at in question.sites_on("source") if at.queries == question.last_axis]
        if not fitting:
            raise UnsupportedModelError(f"{question.loaded.name} has no layer that reads the text for its prediction.")
        last = fitting[-1]
        return RawAttribution(column_sum(last.weights, question.start).mean(0), {"site": last.site.name})
