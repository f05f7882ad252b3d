"""What a rule is: a way of attending that the text alone decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class Rule(ABC):
    """One way of attending: a matrix of a text alone, whose rows sum to one, or to zero where a query has no target.

    A rule only says which keys it means (:meth:`chosen`). What a query cannot see is taken out, and rows are brought to
    a sum of one, in one place for all rules (:func:`.matrices.rule_rows`).
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Short and unique, as in tables."""

    @property
    @abstractmethod
    def phrase(self) -> str:
        """What is looked at, for a sentence: it stands after "looks at"."""

    @abstractmethod
    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        """``[row, key]`` for a run of queries: how much of the row each key should get, not normalized, or True for the
        keys that share it evenly. None where the rule has no meaning for these axes.
        """


class OneKey(Rule):
    """A rule that means at most one key for each query."""

    @abstractmethod
    def target(self, text: RuleText) -> Tensor | None:
        """int64 ``[query]``: the key, -1 for none; None where the rule has no meaning for these axes."""

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        target = text.once(self.name, lambda: self.target(text))
        if target is None:
            return None
        return target[rows, None] == torch.arange(text.keys.size)


class KeyGroup(Rule):
    """A rule that means the same keys for every query, evenly."""

    @abstractmethod
    def members(self, text: RuleText) -> Tensor:
        """bool ``[key]``."""

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        return self.members(text)[None].expand(rows.stop - rows.start, -1)
