from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import KeyGroup, Rule
from attention_analyzer.programs.text_facts import KINDS, RuleText


@dataclass(frozen=True)
class TokenClass(KeyGroup):
    """All tokens of one kind. With conditions on the query's kind this is a fitted matrix of classes."""

    kind: str

    @property
    def name(self) -> str:
        return f"{self.kind}s" if self.kind != "punctuation" else self.kind

    @property
    def phrase(self) -> str:
        return self.name if self.kind != "continuation" else "continuations of words"

    def members(self, text: RuleText) -> Tensor:
        return text.keys.kind == KINDS.index(self.kind)


@dataclass(frozen=True)
class SameClass(Rule):
    """All other tokens of the query's own kind."""

    name = "same kind"
    phrase = "other tokens of its own kind"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        elsewhere: Tensor | bool = True
        if text.position is not None:
            elsewhere = text.position[rows, None] != torch.arange(text.keys.size)
        return (text.queries.kind[rows, None] == text.keys.kind) & elsewhere
