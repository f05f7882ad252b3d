from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.covering import deleter_for, windows
from attention_analyzer.attribution.deletion import DeletionKind
from attention_analyzer.attribution.method import Attribution, RawAttribution


@dataclass(frozen=True)
class Occlusion(Attribution):
    """How far the target's measure falls without a token (Zeiler & Fergus 2014, §4.2), signed.

    Tokens of a text are left out one by one. Of an image, windows of neighboring cells are covered, since the model can
    guess a single cell from those beside it; a cell's number is the mean over the windows that it lies in. Of a sound,
    neighboring stretches are.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "fall without the token"
    follows_target: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    window: int = 3
    deletion: DeletionKind | None = None

    def find(self, question: Question) -> RawAttribution:
        deleter = deleter_for(question, self.deletion)
        tokens = question.tokens
        if question.processed is None:
            free = (at for at in range(len(tokens)) if deleter.can_delete(at) and at != question.target.protected)
            groups = [[at] for at in free]
        else:
            groups = windows(tokens.places, self.window)
        kept = torch.ones(len(groups) + 1, len(tokens), dtype=torch.bool)
        for row, group in enumerate(groups):
            kept[row, group] = False
        measured = deleter.measures(kept)
        falls = measured[-1] - measured[:-1]  # nothing is gone in the last row
        gone = (~kept[:-1]).double()
        raw = (gone / gone.sum(0).clamp(min=1)).T @ falls
        return RawAttribution(raw, {"deletion": deleter.kind, "variants": len(groups)})
