from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attention_analyzer.programs.rule import KeyGroup
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class TokensByFrequency(KeyGroup):
    """Tokens that the text has once, or more than once."""

    repeated: bool

    @property
    def name(self) -> str:
        return "frequent tokens" if self.repeated else "rare tokens"

    @property
    def phrase(self) -> str:
        return "tokens that the text repeats" if self.repeated else "tokens that the text has only once"

    def members(self, text: RuleText) -> Tensor:
        token = text.keys.tensors["token"]
        counts = (token[:, None] == token).sum(-1)
        return (token >= 0) & ((counts > 1) == self.repeated)
