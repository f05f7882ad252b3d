from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import OneKey, Rule
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class OwnWord(Rule):
    """The other tokens of the query's own word."""

    name = "own word"
    phrase = "the other tokens of its word"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        word = text.keys.tensors["word"]
        own = text.of_query(word)
        if own is None or text.position is None:
            return None
        elsewhere = text.position[rows, None] != torch.arange(text.keys.size)
        return (own[rows, None] == word) & (own[rows, None] >= 0) & elsewhere


@dataclass(frozen=True)
class NearWord(Rule):
    """All tokens of the word before, or of the word after."""

    step: int

    @property
    def name(self) -> str:
        return "previous word" if self.step < 0 else "next word"

    @property
    def phrase(self) -> str:
        return f"the {self.name}"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        word = text.keys.tensors["word"]
        own = text.of_query(word)
        if own is None:
            return None
        return (own[rows, None] + self.step == word) & (own[rows, None] >= 0) & (word >= 0)


@dataclass(frozen=True)
class SameWord(Rule):
    """Other places where the query's own word stands, whatever its case."""

    name = "same word"
    phrase = "the same word elsewhere"

    def chosen(self, text: RuleText, rows: slice) -> Tensor | None:
        label, word = text.keys.word_label, text.keys.tensors["word"]
        own, own_word = text.of_query(label), text.of_query(word)
        if own is None or own_word is None:
            return None
        return (own[rows, None] == label) & (own[rows, None] >= 0) & (own_word[rows, None] != word)


@dataclass(frozen=True)
class WordStart(OneKey):
    """The first token of the query's own word."""

    name = "start of the word"
    phrase = "the first token of its word"

    def target(self, text: RuleText) -> Tensor | None:
        word, first = text.keys.tensors["word"].tolist(), dict[int, int]()
        for index, number in enumerate(word):
            first.setdefault(number, index)
        return text.of_query(torch.tensor([first[number] if number >= 0 else -1 for number in word]))
