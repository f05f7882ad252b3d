from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.reductions import ReceivedWeight, Statistics

#: Which part of the keys, the most looked at, is a stripe.
SHARE = 20


class Vertical(Pattern):
    """Share of all weight that the most looked-at twentieth of the keys (at least one) receives.

    A vertical stripe in the picture: every query looks at the same few tokens (Kovaleva et al. 2019, §4.1), whichever
    they are.
    """

    name = "vertical"
    title = "all queries attend to the same few tokens"
    needs = (ReceivedWeight(),)

    def strength(self, results: Statistics) -> Tensor:
        received = results[self.needs[0]]
        sums = received.sort(-1, descending=True).values.cumsum(-1)
        few = self._few(results).expand(received.shape[0], -1)
        part = sums.gather(-1, (few - 1)[:, None].expand(-1, received.shape[1], -1))[..., 0]
        share = part / sums[..., -1]
        return share.masked_fill(results.valid.sum(-1) < 2, torch.nan)

    def places(self, results: Statistics) -> Tensor:
        """int64 ``[batch, head, place]``: the keys of the stripe, the most looked at first; -1 fills up."""
        few = self._few(results).expand(results.axes.batch, -1)[..., None]
        found = results[self.needs[0]].topk(int(few.max()), dim=-1).indices
        return found.masked_fill(torch.arange(found.shape[-1], device=found.device) >= few, -1)

    def said(self, places: Sequence[int], keys: Tokens) -> list[str]:
        return [keys.pieces[place].strip() for place in places if place >= 0]

    def _few(self, results: Statistics) -> Tensor:
        return (results.axes.real_keys // SHARE).clamp(min=1)
