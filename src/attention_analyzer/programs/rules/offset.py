from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey
from attention_analyzer.programs.text_facts import RuleText

_NUMBERS = {1: "the token", 2: "two tokens", 3: "three tokens", 4: "four tokens"}


@dataclass(frozen=True)
class Offset(OneKey):
    """The token at a fixed distance; 0 is the query itself."""

    offset: int

    @property
    def name(self) -> str:
        return f"offset {self.offset:+d}" if self.offset else "self"

    @property
    def phrase(self) -> str:
        if self.offset == 0:
            return "itself"
        side = "before" if self.offset < 0 else "after"
        return f"{_NUMBERS.get(abs(self.offset), f'{abs(self.offset)} tokens')} {side}"

    def target(self, text: RuleText) -> Tensor | None:
        if text.position is None:
            return None
        at = text.position + self.offset
        return torch.where((at >= 0) & (at < text.keys.size), at, -1)
