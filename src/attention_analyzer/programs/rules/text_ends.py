from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.programs.rule import KeyGroup
from attention_analyzer.programs.text_facts import RuleText


@dataclass(frozen=True)
class FirstToken(KeyGroup):
    """The text's first token, where many models put what they do not need elsewhere (a sink)."""

    name = "first token"
    phrase = "the first token of the text"

    def members(self, text: RuleText) -> Tensor:
        return torch.arange(text.keys.size) == 0


@dataclass(frozen=True)
class LastToken(KeyGroup):
    """The text's last token that is not special."""

    name = "last token"
    phrase = "the last token of the text"

    def members(self, text: RuleText) -> Tensor:
        plain = (~text.keys.tensors["special"]).nonzero()[:, 0]
        return torch.arange(text.keys.size) == (int(plain[-1]) if len(plain) else -1)
