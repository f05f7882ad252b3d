from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey
from attention_analyzer.programs.text_facts import KINDS, RuleText


@dataclass(frozen=True)
class NearestOfKind(OneKey):
    """The nearest token of a kind before the query, or after it."""

    kind: str
    after: bool = False

    @property
    def name(self) -> str:
        return f"{'next' if self.after else 'previous'} {self.kind}"

    @property
    def phrase(self) -> str:
        return f"the {self.name}" + (" mark" if self.kind == "punctuation" else "")

    def target(self, text: RuleText) -> Tensor | None:
        kinds = (text.keys.kind == KINDS.index(self.kind)).tolist()
        found, last = [-1] * len(kinds), -1
        order = range(len(kinds))
        for index in reversed(order) if self.after else order:
            found[index] = last
            last = index if kinds[index] else last
        return text.of_query(torch.tensor(found))
