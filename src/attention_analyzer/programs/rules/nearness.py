from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.text_facts import RuleText

Side = Literal["before", "after", "both"]
_PHRASES: dict[Side, str] = {
    "before": "itself and tokens before it",
    "after": "itself and tokens after it",
    "both": "tokens around it",
}


@dataclass(frozen=True)
class Nearness(Rule):
    """The query and the tokens on one side or both, the nearer the more: half as much every few tokens (as ALiBi's
    bias does).
    """

    half_life: int
    side: Side

    @property
    def name(self) -> str:
        return f"near {self.side}, half-life {self.half_life}"

    @property
    def phrase(self) -> str:
        return f"{_PHRASES[self.side]}, nearer ones more (half-life {self.half_life})"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        if text.position is None:
            return None
        step = torch.arange(text.keys.size) - text.position[rows, None]
        near = 0.5 ** (step.abs() / self.half_life)
        if self.side == "both":
            return near
        return torch.where(step <= 0 if self.side == "before" else step >= 0, near, 0.0)
