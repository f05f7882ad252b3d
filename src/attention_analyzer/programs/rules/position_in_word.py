from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attention_analyzer.programs.rule import KeyGroup
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class WordStarts(KeyGroup):
    """The first tokens of all words."""

    name = "word starts"
    phrase = "the starts of words"

    def members(self, text: RuleText) -> Tensor:
        return text.keys.word_start
