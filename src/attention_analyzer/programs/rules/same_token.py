from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey, Rule
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class NearestSameToken(OneKey):
    """The last earlier occurrence of the query's own token."""

    name = "same token before"
    phrase = "where the same token last stood"

    def target(self, text: RuleText) -> Tensor | None:
        return text.of_query(text.keys.nearest_same)


@dataclass(frozen=True)
class SameToken(Rule):
    """All other occurrences of the query's own token."""

    name = "same token"
    phrase = "the same token elsewhere"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        token = text.keys.tensors["token"]
        own = text.of_query(token)
        if own is None or text.position is None:
            return None
        elsewhere = text.position[rows, None] != torch.arange(text.keys.size)
        return (own[rows, None] == token) & (own[rows, None] >= 0) & elsewhere
