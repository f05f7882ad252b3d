from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class OwnSentence(Rule):
    """All tokens of the query's own sentence."""

    name = "own sentence"
    phrase = "its own sentence"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        own = text.of_query(text.keys.sentence)
        return None if own is None else (own[rows, None] == text.keys.sentence) & (own[rows, None] >= 0)


@dataclass(frozen=True)
class Segment(Rule):
    """The query's own text of a pair, or the other one."""

    own: bool

    @property
    def name(self) -> str:
        return "own text" if self.own else "other text"

    @property
    def phrase(self) -> str:
        return "its own text of the pair" if self.own else "the other text of the pair"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        segment = text.keys.tensors["segment"]
        own = text.of_query(segment)
        if own is None or not bool(segment.any()):
            return None
        return (own[rows, None] == segment) == self.own


@dataclass(frozen=True)
class Side(Rule):
    """Everything before the query, or everything after it."""

    after: bool

    @property
    def name(self) -> str:
        return "later tokens" if self.after else "earlier tokens"

    @property
    def phrase(self) -> str:
        return "everything after it" if self.after else "everything before it"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        if text.position is None:
            return None
        step = torch.arange(text.keys.size) - text.position[rows, None]
        return step > 0 if self.after else step < 0
