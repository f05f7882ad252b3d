from __future__ import annotations

import torch

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.weights.reductions import ReceivedWeight


class Received(Attribution):
    """Mean weight that a token gets from a query, over all queries, heads and layers.

    Of an encoder–decoder: over every site whose keys are the source, in the encoder and across. What a causal model's
    first tokens get is large for the plain reason that more queries see them.
    """

    name = "received"
    title = "attention received"

    def find(self, question: Question) -> RawAttribution:
        sites = question.sites_on("source")
        shares = [
            at.weights.reduce([ReceivedWeight()])[ReceivedWeight()][0].double().mean(0) / at.weights.queries
            for at in sites
        ]
        return RawAttribution(torch.stack(shares).mean(0).cpu())
