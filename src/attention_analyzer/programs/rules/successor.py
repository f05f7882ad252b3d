from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey, Rule
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class NearestSuccessor(OneKey):
    """The token after the last earlier occurrence of the query's own token: induction (Olsson et al. 2022)."""

    name = "successor of the same token"
    phrase = "the token that followed the same token before"

    def target(self, text: RuleText) -> Tensor | None:
        last = text.of_query(text.keys.nearest_same)
        return None if last is None else torch.where(last >= 0, last + 1, -1)


@dataclass(frozen=True)
class Successors(Rule):
    """The tokens after all earlier occurrences of the query's own token."""

    name = "successors of the same token"
    phrase = "all tokens that followed the same token before"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        token = text.keys.tensors["token"]
        own = text.of_query(token)
        if own is None or text.position is None:
            return None
        before = torch.cat([torch.tensor([-1]), token[:-1]])
        earlier = torch.arange(text.keys.size) <= text.position[rows, None]
        return (own[rows, None] == before) & (own[rows, None] >= 0) & earlier
