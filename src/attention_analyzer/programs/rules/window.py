from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class Window(Rule):
    """The nearest tokens before, after or on both sides, evenly; those on both sides include the query itself."""

    before: int
    after: int

    @property
    def name(self) -> str:
        return f"window -{self.before}+{self.after}"

    @property
    def phrase(self) -> str:
        if self.before == self.after == 1:
            return "itself and both neighbors"
        if self.before and self.after:
            return f"the {self.before} tokens on either side"
        return f"the {self.before or self.after} tokens {'before' if self.before else 'after'}"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        if text.position is None:
            return None
        step = torch.arange(text.keys.size) - text.position[rows, None]
        inside = (step >= -self.before) & (step <= self.after)
        return inside if self.before and self.after else inside & (step != 0)
