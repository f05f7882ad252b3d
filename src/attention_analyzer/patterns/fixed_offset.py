from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern, mean_over_choices
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.reductions import OffsetWeight, Statistics

#: How far away an offset is looked for.
REACH = 8
_OFFSETS = tuple(offset for offset in range(-REACH, REACH + 1) if abs(offset) > 1)


class FixedOffset(Pattern):
    """The largest mean weight at any one offset from 2 to 8 tokens away, before or after (Voita et al. 2019, §3).

    A query without a key at that offset counts as zero, so that far offsets win nothing in short texts.
    """

    name = "fixed_offset"
    title = "looks a fixed number of tokens away"
    place = "at {which}"
    needs = tuple(OffsetWeight(offset) for offset in _OFFSETS)

    def strength(self, results: Statistics) -> Tensor:
        return self._means(results).amax(0)

    def places(self, results: Statistics) -> Tensor:
        """int64 ``[batch, head, 1]``: the offset that is meant, negative for tokens before."""
        return torch.tensor(_OFFSETS)[self._means(results).nan_to_num(-1).argmax(0).cpu(), None]

    def said(self, places: Sequence[int], keys: Tokens) -> list[str]:
        return [f"{offset:+d}" for offset in places]

    def _means(self, results: Statistics) -> Tensor:
        return torch.stack([mean_over_choices(results, results[need].nan_to_num(0)) for need in self.needs])
