from __future__ import annotations

import torch

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.projection import written_norms
from attention_analyzer.weights.reductions import ReceivedWeight


class NormWeighted(Attribution):
    """How much heads write for a token: ``‖a_ij f(x_j)‖``, ``f(x) = (x W_V + b_V) W_O`` (Kobayashi et al. 2020, eq. 5).

    Summed over the queries and heads of a layer; each layer counts alike, whatever its scale. A token that is looked at
    much but has small values, as special tokens often have, gets little.
    """

    name = "norm"
    title = "norm-weighted attention"

    def find(self, question: Question) -> RawAttribution:
        layers = []
        for site, heard, norms in written_norms(question.loaded, question.prepared):
            if not question.reads(site) or question.axes(site, heard.weights)[1] != "source":
                continue
            received = heard.weights.reduce([ReceivedWeight()])[ReceivedWeight()][0].double().cpu()
            written = (received * norms.double()).sum(0)
            layers.append(written / written.sum())
        return RawAttribution(torch.stack(layers).mean(0))
