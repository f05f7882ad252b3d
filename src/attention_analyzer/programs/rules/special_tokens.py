from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import KeyGroup
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class Separators(KeyGroup):
    """Special tokens that end or divide texts."""

    name = "separators"
    phrase = "the separator"

    def members(self, text: RuleText) -> Tensor:
        return text.keys.tensors["separator"]


@dataclass(frozen=True)
class SpecialTokens(KeyGroup):
    """All special tokens."""

    name = "special tokens"
    phrase = "special tokens"

    def members(self, text: RuleText) -> Tensor:
        return text.keys.tensors["special"]


@dataclass(frozen=True)
class Sinks(KeyGroup):
    """Where models rest: special tokens and what ends a sentence."""

    name = "special tokens and sentence ends"
    phrase = "special tokens and the ends of sentences"

    def members(self, text: RuleText) -> Tensor:
        ends = torch.tensor([piece.strip() in (".", "!", "?", "。") for piece in text.keys.pieces])
        return text.keys.tensors["special"] | ends
