"""What the patterns about a group of tokens share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.weights.reductions import GroupWeight, Statistics


class InGroup(Pattern):
    """Mean weight on a group of tokens; without meaning (NaN) in a text that has none of them."""

    moves = True
    group: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.needs = (GroupWeight(cls.group),)

    def values(self, results: Statistics) -> Tensor:
        has_some = results.axes.groups[self.group].any(-1).to(results.valid.device)
        return results[self.needs[0]].masked_fill(~has_some[:, None, None], torch.nan)
