"""The number that effects are taken of: a logit, or the difference of two, at one position of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.signatures import forward_parameters
from attention_analyzer.text.tokens import Tokens

#: A token as it is written, or its number in the vocabulary.
Token = str | int


@dataclass(frozen=True)
class LogitTarget:
    """A logit, or a contrast of two.

    Attributes:
        position: of the prediction; ``token``: the number of the token whose logit it is.
        versus: the number of the token whose logit is subtracted, if any.
        name, versus_name: the two as a person reads them.
    """

    position: int
    token: int
    versus: int | None
    name: str
    versus_name: str | None = None

    def of(self, logits: Tensor) -> Tensor:
        """The scalar, of logits ``[1, position, vocabulary]``, or ``[1, 1, vocabulary]`` of the last position."""
        row = row_of(logits, self.position)
        return row[self.token] if self.versus is None else row[self.token] - row[self.versus]

    @property
    def label(self) -> str:
        what = f"{self.name!r}" if self.versus is None else f"{self.name!r} over {self.versus_name!r}"
        return f"logit of {what} at {self.position}"


def axis_of(prepared: Prepared) -> Tokens:
    """The tokens at whose positions the model predicts."""
    return (prepared.target or prepared.source)[0]


def row_of(logits: Tensor, at: int) -> Tensor:
    """``[vocabulary]`` at a position, of logits at all positions or at the last alone."""
    return logits[0, at if at < logits.shape[1] else -1]


def last_logits(loaded: LoadedModel, position: int | None) -> dict[str, Any]:
    """Arguments for a forward whose logits are read at the last position: others are not computed if the model can."""
    wanted = position in (None, -1) and loaded.architecture == "decoder"
    model = getattr(loaded.model, "_orig_mod", loaded.model)
    return {"logits_to_keep": 1} if wanted and "logits_to_keep" in forward_parameters(model) else {}


def logits_of(loaded: LoadedModel, outputs: Any) -> Tensor:
    """``[1, position, vocabulary]``.

    Raises:
        UnsupportedModelError: the model predicts no tokens.
    """
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} has no language-model head, so there is no logit of a token; load the "
            "model with one (model_class='AutoModelForCausalLM')."
        )
    return logits


def choose_target(
    loaded: LoadedModel,
    prepared: Prepared,
    logits: Tensor,
    target: Token | None = None,
    versus: Token | None = None,
    position: int | None = None,
) -> LogitTarget:
    """The target that a caller means.

    Args:
        target: by default the most probable token.
        position: by default the last token's of a decoder, and the mask's of a masked language model.

    Raises:
        InputError: a token is none of the vocabulary's, or the position cannot be told.
        SelectionError: there is no such position or token number.
    """
    at = _position(loaded, prepared, max(logits.shape[1], len(axis_of(prepared))), position)
    size = logits.shape[-1]
    number = int(row_of(logits, at).detach().argmax()) if target is None else token_number(loaded, target, size)
    other = None if versus is None else token_number(loaded, versus, size)
    if number == other:
        raise InputError(f"target and versus are the same token, {token_name(loaded, number)!r}; name another one.")
    return LogitTarget(
        at, number, other, token_name(loaded, number), None if other is None else token_name(loaded, other)
    )


def token_number(loaded: LoadedModel, token: Token, size: int) -> int:
    """The vocabulary's number of a token.

    Raises:
        InputError: a text that is not one token; SelectionError: a number outside the vocabulary.
    """
    if isinstance(token, int) and not isinstance(token, bool):
        if not 0 <= token < size:
            raise SelectionError(f"There is no token {token}; the vocabulary has {size}, numbered from 0.")
        return token
    if not isinstance(token, str):
        raise InputError(f"A token is a text or its number in the vocabulary, not {token!r}.")
    tokenizer = loaded.need_tokenizer()
    # Inside a text a word is usually another token than at its beginning, so the one after a space comes first.
    forms = [token] if token.startswith(" ") or not token.strip() else [f" {token}", token]
    read = [tokenizer(form, add_special_tokens=False, verbose=False)["input_ids"] for form in forms]
    single = [int(ids[0]) for ids in read if len(ids) == 1 and ids[0] != tokenizer.unk_token_id]
    if single:
        return single[0]
    if token in tokenizer.get_vocab():
        return int(tokenizer.convert_tokens_to_ids(token))
    pieces = [token_name(loaded, int(number)) for number in read[-1]]
    raise InputError(
        f"{token!r} is not one token of {loaded.name or 'the model'} but {len(pieces)} "
        f"({', '.join(map(repr, pieces))}); name a word or piece that is one token, or its number."
    )


def token_name(loaded: LoadedModel, number: int) -> str:
    """A token as a person reads it."""
    if loaded.tokenizer is None:
        return str(number)
    shown = str(loaded.tokenizer.decode([number]))
    if shown.strip() and "\ufffd" not in shown:
        return shown.strip()
    raw = loaded.tokenizer.convert_ids_to_tokens([number])[0]
    return str(number if raw is None else raw)


def _position(loaded: LoadedModel, prepared: Prepared, size: int, position: int | None) -> int:
    if position is not None:
        if not -size <= position < size:
            raise SelectionError(f"There is no position {position}: there are {size}, numbered from 0 to {size - 1}.")
        return position % size
    if loaded.architecture != "encoder":
        return size - 1
    mask = getattr(loaded.tokenizer, "mask_token_id", None)
    masks = [at for at, number in enumerate(prepared.source[0].ids) if number == mask]
    if mask is None or len(masks) != 1:
        written = getattr(loaded.tokenizer, "mask_token", None) or "mask token"
        raise InputError(
            f"A masked language model is read at its mask, but the text has {len(masks)}; write one {written} into the "
            "text, or pass position=…."
        )
    return masks[0]
