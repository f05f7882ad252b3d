"""What the patterns at one fixed offset share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern, mean_over_choices
from attention_analyzer.weights.reductions import OffsetWeight, Statistics


class AtOffset(Pattern):
    """Mean weight on the key at one offset; its position-matched control is the stronger of the two offsets beside."""

    offset: ClassVar[int]

    def __init_subclass__(cls) -> None:
        cls.needs = tuple(OffsetWeight(cls.offset + step) for step in (0, -1, 1))

    def values(self, results: Statistics) -> Tensor:
        return results[self.needs[0]]

    def beside(self, results: Statistics) -> Tensor | None:
        left, right = (mean_over_choices(results, results[need]) for need in self.needs[1:])
        return torch.fmax(left, right)
