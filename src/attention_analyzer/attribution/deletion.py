"""What a text without some of its tokens is, and what the model makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.target import Layout
from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter

DeletionKind = Literal["mask", "hide", "remove", "mean", "blur", "noise", "silence"]
#: How a token of a text, a cell of an image and a stretch of a sound can be deleted.
DELETIONS: dict[DeletionKind, str] = {
    "mask": "replaced by the tokenizer's mask token",
    "hide": "replaced by padding and masked; all other tokens keep their positions",
    "remove": "removed; later tokens shift left",
    "mean": "filled with the image's mean color",
    "blur": "replaced by a blurred copy of the image",
    "noise": "filled with the image's pixels, or the sound's samples, in random order",
    "silence": "silenced",
}
_OF_TEXTS: tuple[DeletionKind, ...] = ("mask", "hide", "remove")
#: Variants of a text that run together.
AT_ONCE = 32
_BY_TOKEN = ("input_ids", "attention_mask", "token_type_ids")


def usual_deletion(question: Question) -> DeletionKind:
    """A mask token where the model knows one, else hiding."""
    return "mask" if getattr(question.loaded.tokenizer, "mask_token_id", None) is not None else "hide"


def blank_id(loaded: LoadedModel) -> int:
    """What stands for no token: the mask token, else the padding token, else the unknown one, else a text's end."""
    for name in ("mask_token_id", "pad_token_id", "unk_token_id", "eos_token_id"):
        for holder in (loaded.tokenizer, loaded.config):
            number = getattr(holder, name, None)
            if isinstance(number, int):
                return number
    raise InputError(
        f"{loaded.name} has neither a mask, a padding, an unknown nor an end-of-text token to use as a blank."
    )


@dataclass(frozen=True)
class Deleter:
    """Runs variants of one text.

    Attributes:
        kind: one of :data:`DELETIONS`.
    """

    question: Question
    kind: DeletionKind

    def __post_init__(self) -> None:
        if self.kind not in _OF_TEXTS:
            raise InputError(f"Tokens are deleted by one of {', '.join(_OF_TEXTS)}, not by {self.kind!r}.")
        tokenizer = self.question.loaded.tokenizer
        if self.kind == "mask" and getattr(tokenizer, "mask_token_id", None) is None:
            raise InputError(f"{self.question.loaded.name} knows no mask token; delete tokens by 'hide' or 'remove'.")
        if self.kind == "hide" and "attention_mask" not in self.question.inputs:
            raise InputError(
                f"{self.question.loaded.name} takes no attention mask; delete tokens by 'mask' or 'remove'."
            )
        if self.kind == "remove" and self.question.target.needs_positions:
            raise InputError(
                f"{self.question.target.label} needs fixed token positions, so tokens cannot be removed; "
                "delete tokens by 'hide' or 'mask'."
            )

    def can_delete(self, token: int) -> bool:
        """Whether a token is part of the text."""
        return not self.question.tokens.is_special[token]

    def measures(self, kept: Tensor, progress: OnProgress | None = None) -> Tensor:
        """The target's measure of each variant: float64 ``[row]``.

        Args:
            kept: bool ``[row, token]``.
            progress: called with how many rows are done and how many there are.
        """
        found = []
        steps = ProgressCounter(len(kept), progress)
        with self.question.loaded.evaluating() as model, torch.no_grad():
            for part in kept.split(self.question.loaded.at_once(AT_ONCE)):
                inputs, layout = self.variants(part.to(self.question.loaded.device))
                found.append(self.question.target.measures(model(**inputs), layout).double().cpu())
                steps.advance(len(part))
        return torch.cat(found)

    def variants(self, kept: Tensor) -> tuple[dict[str, Any], Layout]:
        """The inputs of a batch of variants, and where their tokens stand."""
        rows = len(kept)
        inputs = {name: part.expand(rows, *part.shape[1:]) for name, part in self.question.inputs.items()}
        if self.kind == "remove":
            return self._without(inputs, kept)
        blank = blank_id(self.question.loaded)
        if self.kind == "hide":
            pad = getattr(self.question.loaded.tokenizer, "pad_token_id", None)
            blank = blank if pad is None else int(pad)
            inputs["attention_mask"] = inputs["attention_mask"] * kept
        inputs["input_ids"] = inputs["input_ids"].where(kept, blank)
        return inputs, Layout(kept if self.kind == "hide" else torch.ones_like(kept), kept)

    def _without(self, inputs: dict[str, Any], kept: Tensor) -> tuple[dict[str, Any], Layout]:
        sizes = kept.sum(1)
        order = (~kept).to(torch.int8).sort(dim=1, stable=True).indices[:, : int(sizes.max())]
        valid = torch.arange(order.shape[1], device=kept.device)[None] < sizes[:, None]
        for name in _BY_TOKEN:
            if name in inputs:
                fill = self.question.loaded.pad_id if name == "input_ids" else 0
                inputs[name] = inputs[name].gather(1, order).where(valid, fill)
        return inputs, Layout(valid, kept, compact=True)
