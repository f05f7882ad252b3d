"""Two predictions side by side: what changed, by how much, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.interventions.prediction import Prediction, Task, label_name, label_number
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.result import Result
from attention_analyzer.text.tokens import Tokens

if TYPE_CHECKING:
    pass

#: Labels that a table of changes shows.
SHOWN = 12


@dataclass(frozen=True, repr=False)
class WhatIf(Result):
    """What an intervention changed.

    Attributes:
        task: what the model predicts; see :data:`.prediction.Task`.
        changed: the intervention in words.
        position: where the prediction was read, and ``token``, what stands there ("" for a class or a value).
        target: the label that was followed; ``before`` and ``after``, its probability (for a regression its value;
            NaN for a representation).
        kl: divergence of the new distribution from the old one at this position, ``KL(before ‖ after)`` in nats; NaN
            where the model predicts no distribution.
        effect: the size of the whole change: ``kl``; for a regression the difference; for a representation the
            relative change of the mean hidden state, ``‖after - before‖ / ‖before‖``.
        log_probability: of the text's own next tokens together, before and after, in nats; None where the model gives
            none.
        table: the labels that changed most: ``label, before, after, change``; for a representation the positions.
        positions: one row per position: ``position, token, kl, before, after`` with the most probable labels; for a
            representation ``position, token, change, cosine``.
    """

    task: Task
    changed: str
    position: int | None
    token: str
    target: str
    before: float
    after: float
    kl: float
    effect: float
    log_probability: tuple[float, float] | None
    table: pd.DataFrame = field(compare=False)
    positions: pd.DataFrame = field(compare=False)
    model_name: str = ""

    @property
    def place(self) -> str:
        """Where and what was read, in words."""
        after = {"next token": "the token after", "written token": "the token after", "masked token": "the token at"}
        if self.task in after:
            return f"{after[self.task]} {self.token!r} ({self.position})"
        if self.task == "token class":
            return f"the class of {self.token!r} ({self.position})"
        return f"the {self.task}"

    def __str__(self) -> str:
        if self.task == "representation":
            return f"{self.changed}: the mean hidden state changes by {self.effect:.1%} of its length."
        if self.task == "value":
            return f"{self.changed}: the value goes from {self.before:.4g} to {self.after:.4g}."
        first = f"{self.changed}: for {self.place}, {self.target!r} goes from {self.before:.1%} to {self.after:.1%}"
        return f"{first} (KL divergence {self.kl:.3g} nats)."

    def facts(self) -> tuple[str, ...]:
        return (str(self),)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table


def compare(
    loaded: LoadedModel,
    before: Prediction,
    after: Prediction,
    tokens: Tokens,
    changed: str,
    *,
    target: str | int | None = None,
    position: int | None = None,
) -> WhatIf:
    """Put two predictions of one text side by side.

    Args:
        tokens: what the positions show.

    Raises:
        InputError, SelectionError: there is no such target or position.
    """
    if before.task == "representation":
        if target is not None:
            raise InputError(
                f"{type(loaded.model).__name__} predicts no labels, so there is no target to follow; "
                "load the model with a language-model or classification head, or leave the target out."
            )
        return _of_representation(loaded, before, after, tokens, changed, position)
    if before.task == "value":
        return _of_value(loaded, before, after, changed)
    divergence = divergence_by_position(before, after)
    at = _position(loaded, before, divergence, tokens, position)
    old, new = before.values[at].exp(), after.values[at].exp()
    number = int(old.argmax()) if target is None else label_number(loaded, before, target)
    order = (new - old).abs().argsort(descending=True, stable=True)[:SHOWN].tolist()
    shown = order if number in order else [*order[: SHOWN - 1], number]
    table = pd.DataFrame(
        {
            "label": [label_name(loaded, before.task, label) for label in shown],
            "before": old[shown].numpy(),
            "after": new[shown].numpy(),
            "change": (new - old)[shown].numpy(),
        }
    )
    has_positions = before.task != "class"
    return WhatIf(
        task=before.task,
        changed=changed,
        position=at if has_positions else None,
        token=tokens.pieces[at] if has_positions else "",
        target=label_name(loaded, before.task, number),
        before=float(old[number]),
        after=float(new[number]),
        kl=float(divergence[at]),
        effect=float(divergence[at]),
        log_probability=_log_probabilities(before, after, tokens),
        table=table,
        positions=_positions(loaded, before, after, divergence, tokens),
        model_name=loaded.name,
    )


def divergence_by_position(before: Prediction, after: Prediction) -> Tensor:
    """``KL(before ‖ after)`` in nats at each position; for independent labels the sum over them."""
    result = _divergence(before.values, after.values)
    if before.independent:
        result = result + _divergence(_other(before.values), _other(after.values))
    return result.clamp(min=0)


def _divergence(old: Tensor, new: Tensor) -> Tensor:
    # A label that the model excludes (-inf) has no share in the sum.
    return torch.where(old > -math.inf, old.exp() * (old - new), 0.0).sum(-1)


def _other(log_probabilities: Tensor) -> Tensor:
    """Log-probabilities that the labels do not hold."""
    return torch.log(-torch.expm1(log_probabilities))


def _position(loaded: LoadedModel, before: Prediction, divergence: Tensor, tokens: Tokens, position: int | None) -> int:
    size = len(divergence)
    if before.task == "class":
        if position is not None:
            raise InputError("A class is predicted for the whole text; leave the position out.")
        return 0
    if position is not None:
        if not -size <= position < size:
            raise SelectionError(f"There is no position {position}; there are {size}, from 0 to {size - 1}.")
        return position % size
    if before.task == "next token":
        return size - 1
    mask = getattr(loaded.tokenizer, "mask_token_id", None)
    if before.task == "masked token" and mask is not None and mask in tokens.ids:
        return tokens.ids.index(mask)
    return int(divergence.argmax())


def _log_probabilities(before: Prediction, after: Prediction, tokens: Tokens) -> tuple[float, float] | None:
    if before.task not in ("next token", "written token") or len(tokens.ids) < 2:
        return None
    following = torch.tensor(tokens.ids[1:])[:, None]
    old, new = (float(each.values[:-1].gather(1, following).sum()) for each in (before, after))
    return old, new


def _positions(
    loaded: LoadedModel, before: Prediction, after: Prediction, divergence: Tensor, tokens: Tokens
) -> pd.DataFrame:
    names = [
        [label_name(loaded, before.task, int(label)) for label in each.values.argmax(-1)] for each in (before, after)
    ]
    return pd.DataFrame(
        {
            "position": range(len(divergence)),
            "token": tokens.pieces if before.task != "class" else [""] * len(divergence),
            "kl": divergence.numpy(),
            "before": names[0],
            "after": names[1],
        }
    )


def _of_value(loaded: LoadedModel, before: Prediction, after: Prediction, changed: str) -> WhatIf:
    old, new = float(before.values[0, 0]), float(after.values[0, 0])
    table = pd.DataFrame({"label": ["value"], "before": [old], "after": [new], "change": [new - old]})
    empty = pd.DataFrame({"position": [], "token": [], "kl": [], "before": [], "after": []})
    return WhatIf(
        "value", changed, None, "", "value", old, new, math.nan, new - old, None, table, empty, loaded.name
    )  # fmt: skip


def _of_representation(
    loaded: LoadedModel, before: Prediction, after: Prediction, tokens: Tokens, changed: str, position: int | None
) -> WhatIf:
    old, new = before.values, after.values
    if position is not None:
        at = _position(loaded, before, old[:, 0], tokens, position)
        mean_old, mean_new = old[at], new[at]
    else:
        mean_old, mean_new = old.mean(0), new.mean(0)
    frame = pd.DataFrame(
        {
            "position": range(len(old)),
            "token": tokens.pieces,
            "change": relative_change(old, new).numpy(),
            "cosine": torch.nn.functional.cosine_similarity(old, new, dim=-1).numpy(),
        }
    )
    return WhatIf(
        task="representation",
        changed=changed,
        position=None if position is None else at,
        token="" if position is None else tokens.pieces[at],
        target="",
        before=math.nan,
        after=math.nan,
        kl=math.nan,
        effect=float(relative_change(mean_old, mean_new)),
        log_probability=None,
        table=frame.nlargest(SHOWN, "change").reset_index(drop=True),
        positions=frame,
        model_name=loaded.name,
    )


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """``‖after - before‖ / ‖before‖`` over the last axis."""
    return (after - before).norm(dim=-1) / before.norm(dim=-1)
