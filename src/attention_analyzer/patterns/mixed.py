from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import Frame, Pattern
from attention_analyzer.weights.reductions import Reduction, Statistics


@dataclass(frozen=True)
class Mixed(Pattern):
    """What is left: one minus the strength of the strongest other pattern (Kovaleva et al. 2019: heterogeneous)."""

    others: tuple[Pattern, ...]

    name = "mixed"
    title = "nothing that has a name"
    has_chance = False

    @property
    def needs(self) -> tuple[Reduction, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(need for other in self.others for need in other.needs))

    def fitting(self, frame: Frame) -> Mixed | None:
        others = tuple(each for other in self.others if (each := other.fitting(frame)) is not None)
        return Mixed(others) if others else None

    def strength(self, results: Statistics) -> Tensor:
        found = torch.stack([other.strength(results) for other in self.others])
        return 1 - found.nan_to_num(0).amax(0).masked_fill(found.isnan().all(0), torch.nan)
