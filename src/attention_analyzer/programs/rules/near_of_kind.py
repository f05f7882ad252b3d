from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.rules.token_class import TokenClass
from attention_analyzer.programs.text_facts import KINDS, RuleText


@dataclass(frozen=True)
class NearOfKind(Rule):
    """Other tokens of one kind, the nearer the more: half as much every few tokens."""

    kind: str
    half_life: int

    @property
    def name(self) -> str:
        return f"near {self.kind}, half-life {self.half_life}"

    @property
    def phrase(self) -> str:
        return f"{TokenClass(self.kind).phrase} around it, nearer ones more (half-life {self.half_life})"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        if text.position is None:
            return None
        step = torch.arange(text.keys.size) - text.position[rows, None]
        near = 0.5 ** (step.abs() / self.half_life)
        return torch.where((text.keys.kind == KINDS.index(self.kind)) & (step != 0), near, 0.0)
