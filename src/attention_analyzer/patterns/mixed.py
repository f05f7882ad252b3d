from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.weights.reductions import Reduction, Statistics


@dataclass(frozen=True)
class Mixed(Pattern):
    """What is left: one minus the strength of the strongest other pattern (Kovaleva et al. 2019: heterogeneous)."""

    others: tuple[Pattern, ...]

    name = "mixed"
    title = "no dominant head type"
    has_chance = False

    @property
    def needs(self) -> tuple[Reduction, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(need for other in self.others for need in other.needs))

    def fitting(self, frame: TokenContext) -> Mixed | None:
        others = tuple(each for other in self.others if (each := other.fitting(frame)) is not None)
        return Mixed(others) if others else None

    def strength(self, results: Statistics) -> Tensor:
        return self.left_over([other.strength(results) for other in self.others])

    def left_over(self, strengths: Sequence[Tensor]) -> Tensor:
        """``[batch, head]`` where the strengths of the others are known already."""
        found = torch.stack(list(strengths))
        return 1 - found.nan_to_num(0).amax(0).masked_fill(found.isnan().all(0), torch.nan)
