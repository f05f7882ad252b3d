from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.metrics.metric import Metric
from attention_analyzer.weights.reductions import ReceivedWeight, Statistics


class ReceivedConcentration(Metric):
    """How few keys receive all the weight: one minus the normalized entropy of the received weight.

    0 if all keys receive the same, 1 if one key receives everything (a vertical stripe; Kovaleva et al. 2019, §4.1).
    """

    name = "received_concentration"
    unit = ""
    needs = (ReceivedWeight(),)

    def value(self, statistics: Statistics) -> Tensor:
        received = statistics[self.needs[0]]
        shares = received / received.sum(-1, keepdim=True)
        keys = statistics.axes.real_keys
        spread = torch.special.entr(shares).sum(-1) / keys.clamp(min=2).to(shares.dtype).log()
        return (1 - spread).masked_fill(keys < 2, torch.nan)
