from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class MatchingBracket(OneKey):
    """From a closing bracket, the bracket that it closes."""

    name = "matching bracket"
    phrase = "the bracket that it closes"

    def target(self, text: RuleText) -> Tensor | None:
        return text.of_query(torch.where(text.keys.closes, text.keys.bracket, -1))


@dataclass(frozen=True)
class OpenBracket(OneKey):
    """From anything inside brackets, and from what closes them, the innermost opening one."""

    name = "opening bracket"
    phrase = "the opening bracket around it"

    def target(self, text: RuleText) -> Tensor | None:
        return text.of_query(text.keys.bracket)


@dataclass(frozen=True)
class OpenQuote(OneKey):
    """From anything in quotation marks, and from the mark that ends them, the one that begins them."""

    name = "opening quotation mark"
    phrase = "the quotation mark that opens its quotation"

    def target(self, text: RuleText) -> Tensor | None:
        return text.of_query(text.keys.quote)
