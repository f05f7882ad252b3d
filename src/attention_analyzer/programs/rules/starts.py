from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey
from attention_analyzer.programs.text_facts import RuleText


def _first_of(numbers: list[int]) -> Tensor:
    first: dict[int, int] = {}
    for index, number in enumerate(numbers):
        first.setdefault(number, index)
    return torch.tensor([first[number] if number >= 0 else -1 for number in numbers])


@dataclass(frozen=True)
class SentenceStart(OneKey):
    """The first token of the query's own sentence."""

    name = "start of the sentence"
    phrase = "the first token of its sentence"

    def target(self, text: RuleText) -> Tensor | None:
        return text.of_query(_first_of(text.keys.sentence.tolist()))


@dataclass(frozen=True)
class SentenceEnd(OneKey):
    """The last token of the query's own sentence."""

    name = "end of the sentence"
    phrase = "the last token of its sentence"

    def target(self, text: RuleText) -> Tensor | None:
        sentence = text.keys.sentence.tolist()
        last = {number: index for index, number in enumerate(sentence)}
        return text.of_query(torch.tensor([last[number] if number >= 0 else -1 for number in sentence]))


@dataclass(frozen=True)
class PreviousSentenceEnd(OneKey):
    """The last token of the sentence before."""

    name = "end of the previous sentence"
    phrase = "the end of the sentence before"

    def target(self, text: RuleText) -> Tensor | None:
        sentence = text.keys.sentence.tolist()
        last = {number: index for index, number in enumerate(sentence) if number >= 0}
        return text.of_query(torch.tensor([last.get(number - 1, -1) if number > 0 else -1 for number in sentence]))


@dataclass(frozen=True)
class LineStart(OneKey):
    """The first token of the query's own line."""

    name = "start of the line"
    phrase = "the first token of its line"

    def target(self, text: RuleText) -> Tensor | None:
        plain = torch.where(text.keys.tensors["special"], -1, text.keys.tensors["line"])
        return text.of_query(_first_of(plain.tolist()))
