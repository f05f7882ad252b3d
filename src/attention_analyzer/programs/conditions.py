"""Conditions on the query: its kind, whether it repeats, brackets, the start of a sentence.

The queries of a text fall into disjoint *cells*; a condition is a set of cells. Statistics are kept by cell, so that
any condition's are sums of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from attention_analyzer.programs.text_facts import KINDS, TokenFacts

#: Every cell: kind, repeated, in brackets, first of its sentence.
CELLS: tuple[tuple[str, bool, bool, bool], ...] = tuple(product(KINDS, (False, True), (False, True), (False, True)))


@dataclass(frozen=True)
class Condition:
    """A set of cells with a phrase that begins a part of a sentence, such as "from punctuation"; "" holds always."""

    name: str
    phrase: str
    axis: int = -1
    value: str | bool = ""

    @property
    def holds(self) -> Tensor:
        """bool ``[cell]``."""
        return torch.tensor([self.axis < 0 or cell[self.axis] == self.value for cell in CELLS])


_PLURALS = {"special": "special tokens", "punctuation": "punctuation", "continuation": "continuations of words"}
CONDITIONS: tuple[Condition, ...] = (
    Condition("always", ""),
    *(Condition(kind, f"from {_PLURALS.get(kind, kind + 's')}", 0, kind) for kind in KINDS),
    Condition("repeated", "from tokens that stood before", 1, True),
    Condition("new", "from tokens that are new", 1, False),
    Condition("in brackets", "inside brackets", 2, True),
    Condition("outside brackets", "outside brackets", 2, False),
    Condition("sentence start", "from the start of a sentence", 3, True),
    Condition("inside sentence", "from inside a sentence", 3, False),
)
CONDITION_OF: dict[str, Condition] = {condition.name: condition for condition in CONDITIONS}


def cells_of(queries: TokenFacts) -> Tensor:
    """int64 ``[query]``: each query's cell."""
    return (
        (queries.kind * 2 + queries.repeated.long()) * 2 + (queries.bracket >= 0).long()
    ) * 2 + queries.sentence_start.long()
