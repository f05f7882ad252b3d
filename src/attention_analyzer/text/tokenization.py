"""From text to model inputs and :class:`Tokens`, with every tokenizer: fast, slow, byte-level, without offsets."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError, Option, TooLongError
from attention_analyzer.text.chat import ChatText, Messages, as_text
from attention_analyzer.text.parts import places_of
from attention_analyzer.text.spans import spans_by_decoding
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.words import Span

Pair = tuple[str, str]
#: How vocabularies write a space (byte-level and SentencePiece).
SPACES = ("Ġ", "▁")


@dataclass(frozen=True)
class Tokenized:
    """A batch ready for the model.

    Attributes:
        inputs: tensors by name, padded to one length.
        tokens: per text, without padding.
        runs: per text, where its tokens lie on the padded axis.
    """

    inputs: dict[str, Tensor]
    tokens: tuple[Tokens, ...]
    runs: tuple[slice, ...]

    @property
    def valid(self) -> Tensor:
        """bool ``[batch, token]``: tokens that are not padding."""
        length = self.inputs["input_ids"].shape[1]
        valid = torch.zeros(len(self.runs), length, dtype=torch.bool)
        for row, run in enumerate(self.runs):
            valid[row, run] = True
        return valid


def check_text(text: Any) -> None:
    """Refuse what no tokenizer can take.

    Raises:
        InputError: not a string, empty, or not encodable (a lone surrogate).
    """
    if not isinstance(text, str):
        raise InputError(f"A text must be a str, not {type(text).__name__}: {str(text)[:60]!r}.")
    if not text.strip():
        raise InputError(f"The text is empty ({text!r}); at least one visible character is needed.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text has a lone surrogate {text[error.start]!r} at character {error.start}, which is no character; "
            "remove it or decode the text with errors='replace'."
        ) from None


def tokenize(
    tokenizer: Any,
    texts: Sequence[str | Pair | Messages],
    *,
    max_length: int | None = None,
    truncate: bool = False,
    add_special_tokens: bool = True,
    pad_id: int | None = None,
) -> Tokenized:
    """Tokenize a batch of texts, pairs or chats.

    Args:
        texts: texts, pairs of texts, or lists of messages for the tokenizer's chat template, which writes all special
            tokens itself.
        max_length: how many tokens the model can take; None if there is no limit.
        truncate: cut longer texts to that instead of refusing them.
        pad_id: what fills up shorter texts, if not the tokenizer's padding.

    Raises:
        InputError: a text is empty or not a text, or the tokenizer makes no token of it.
        TooLongError: a text has more tokens than ``max_length`` and ``truncate`` is False.
    """
    pairs = [_as_pair(as_text(tokenizer, text)) for text in texts]
    rows = _encode(tokenizer, pairs, add_special_tokens)
    for row, (first, _) in zip(rows, pairs, strict=True):
        if not row["input_ids"]:
            raise InputError(f"The tokenizer makes no token of the text {first[:60]!r}.")
        if max_length is not None and len(row["input_ids"]) > max_length and not truncate:
            raise TooLongError(
                f"The text has {len(row['input_ids'])} tokens, but the model has positions for {max_length}",
                ["shorten it", Option("truncate", "True")],
            )
    cut: set[int] = set()
    if max_length is not None and truncate:
        for index, pair in enumerate(pairs):
            if len(rows[index]["input_ids"]) > max_length:
                (rows[index],) = _encode(tokenizer, [pair], add_special_tokens, max_length)
                cut.add(index)
    _warn_of_second_start(tokenizer, rows)
    special_ids = special_token_ids(tokenizer)
    tokens = tuple(_tokens(tokenizer, special_ids, row, pair) for row, pair in zip(rows, pairs, strict=True))
    tokens = tuple(_without_cut_parts(each) if number in cut else each for number, each in enumerate(tokens))
    inputs, runs = _pad(tokenizer, rows, pad_id)
    return Tokenized(inputs, tokens, runs)


def _as_pair(text: str | Pair) -> tuple[str, str | None]:
    if isinstance(text, tuple) and len(text) == 2:
        check_text(text[0])
        check_text(text[1])
        return text
    check_text(text)
    assert isinstance(text, str)
    return text, None


def _encode(
    tokenizer: Any,
    pairs: Sequence[tuple[str, str | None]],
    add_special_tokens: bool,
    max_length: int | None = None,
) -> list[dict[str, Any]]:
    """One row of plain lists per text."""
    is_fast = bool(getattr(tokenizer, "is_fast", False))
    arguments: dict[str, Any] = {"add_special_tokens": add_special_tokens, "return_special_tokens_mask": True}
    if is_fast:
        arguments["return_offsets_mapping"] = True
    if max_length is not None:
        arguments |= {"truncation": True, "max_length": max_length}
    firsts, seconds = map(list, zip(*pairs, strict=True))
    chats = {isinstance(first, ChatText) for first in firsts}
    if len(chats) > 1:  # a batch has the special tokens of a template, or the tokenizer's own
        return [row for pair in pairs for row in _encode(tokenizer, [pair], add_special_tokens, max_length)]
    if True in chats:
        arguments["add_special_tokens"] = False
    if None in seconds and any(second is not None for second in seconds):  # a batch is of texts, or of pairs
        return [row for pair in pairs for row in _encode(tokenizer, [pair], add_special_tokens, max_length)]
    # The length is checked here, against the model; the tokenizer's own note about it would be noise.
    encoded = tokenizer(firsts, None if None in seconds else seconds, verbose=False, **arguments)
    return [
        {name: list(values[row]) for name, values in encoded.items()}
        | {"sequence_ids": encoded.sequence_ids(row) if is_fast else None, "of_text": True}
        for row in range(len(pairs))
    ]


def _warn_of_second_start(tokenizer: Any, rows: Sequence[dict[str, Any]]) -> None:
    starts = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "cls")} - {None}
    if any(len(ids := row["input_ids"]) > 1 and ids[0] == ids[1] and ids[0] in starts for row in rows):
        token = tokenizer.bos_token or tokenizer.cls_token
        warnings.warn(
            f"A text begins with {token}, and the tokenizer adds another one, which models rarely see in training; "
            "leave it out of the text, or give a chat as messages=….",
            stacklevel=2,
        )


def special_token_ids(tokenizer: Any) -> set[int]:
    """Ids that stand for no text: those with a role ([CLS], <s>, …) and added tokens marked special (<|im_start|>).

    The token for unknown words is none of them: it stands for a word of the text.
    """
    unknown = getattr(tokenizer, "unk_token", None)
    # One token may have several roles: GPT-2's unknown token also ends texts, and so is special.
    roles = {token for token in tokenizer.all_special_tokens if token != unknown} | {
        getattr(tokenizer, f"{role}_token", None) for role in ("bos", "eos", "sep", "cls", "pad", "mask")
    }
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids = {int(number) for number, token in added.items() if token.special and str(token) != unknown}
    return ids | {int(tokenizer.convert_tokens_to_ids(str(token))) for token in roles if token is not None}


def _tokens(tokenizer: Any, special_ids: set[int], row: dict[str, Any], pair: tuple[str, str | None]) -> Tokens:
    ids = [int(number) for number in row["input_ids"]]
    texts = tuple(text for text in pair if text is not None)
    segments = _segments(row, len(ids), len(texts))
    special = _special(tokenizer, special_ids, row, ids, segments, texts)
    offsets = row.get("offset_mapping")
    if offsets is None:
        unknown = getattr(tokenizer, "unk_token_id", None) if row["of_text"] else None
        spans = spans_by_decoding(tokenizer, ids, special, segments, texts, None if unknown in special_ids else unknown)
    else:
        spans = _given_spans(tokenizer, offsets, ids, special)
    pieces = []
    for index, span in enumerate(spans):
        own = texts[segments[index]][slice(*span)] if span is not None else ""
        pieces.append(_legible(own) if own else _decoded(tokenizer, ids[index], special[index]))
    ends = {tokenizer.sep_token_id, tokenizer.eos_token_id} - {None}
    return Tokens(
        pieces=tuple(pieces),
        ids=tuple(ids),
        spans=tuple(spans),
        is_special=tuple(special),
        is_separator=tuple(flag and number in ends for flag, number in zip(special, ids, strict=True)),
        segments=tuple(segments),
        texts=texts,
        parts=texts[0].parts if isinstance(texts[0], ChatText) else (),
    )


def _without_cut_parts(tokens: Tokens) -> Tokens:
    """Tokens of a chat that was cut, with the parts that are still there; a warning names the others."""
    ends = {(segment, place[1] - 1) for place, segment in zip(places_of(tokens), tokens.segments, strict=True) if place}
    kept = tuple(
        part
        for part in tokens.parts
        if any(segment == part.segment and part.start <= end < part.end for segment, end in ends)
    )
    gone = list(dict.fromkeys(part.name for part in tokens.parts if part not in kept))
    if gone:
        named = ", ".join(map(repr, gone[:6])) + (f" and {len(gone) - 6} more" if len(gone) > 6 else "")
        warnings.warn(f"The chat was cut to {len(tokens):,} tokens; the model does not see {named}.", stacklevel=4)
    return replace(tokens, parts=kept)


def _given_spans(
    tokenizer: Any, offsets: Sequence[tuple[int, int]], ids: Sequence[int], special: Sequence[bool]
) -> list[Span | None]:
    pairs = zip(offsets, special, strict=True)
    spans = [None if flag or start >= stop else (int(start), int(stop)) for (start, stop), flag in pairs]
    for index, (one, two) in enumerate(pairwise(spans)):
        # A space that the tokenizer puts in front of a text has no character there, but is given the first one's.
        if one is not None and one == two and tokenizer.convert_ids_to_tokens(ids[index]) in SPACES:
            spans[index] = None
    return spans


def _special(
    tokenizer: Any,
    special_ids: set[int],
    row: dict[str, Any],
    ids: list[int],
    segments: list[int],
    texts: tuple[str, ...],
) -> list[bool]:
    unknown = getattr(tokenizer, "unk_token_id", None)
    flags = row.get("special_tokens_mask") or [0] * len(ids)
    special = [
        number in special_ids or (bool(flag) and number != unknown) for flag, number in zip(flags, ids, strict=True)
    ]
    for index, (start, stop) in enumerate(row.get("offset_mapping") or []):
        if special[index] and start < stop:
            # A special id whose characters are not the special token's own stands for a word that is unknown.
            written = texts[segments[index]][start:stop].strip().casefold()
            special[index] = written == str(tokenizer.convert_ids_to_tokens(ids[index])).strip().casefold()
    return special


def _segments(row: dict[str, Any], size: int, texts: int) -> list[int]:
    numbers = row["sequence_ids"] or row.get("token_type_ids") or [0] * size
    if texts > 1 and not any(numbers):
        numbers = _segments_by_separators(row.get("special_tokens_mask") or [0] * size)
    segments, current = [], 0
    for number in numbers:
        # A special token belongs to the segment it closes.
        current = current if number is None else int(number)
        segments.append(min(current, texts - 1))
    return segments


def _segments_by_separators(flags: Sequence[int]) -> list[int]:
    """The segments of a pair whose tokenizer does not number them: the second begins after the first separators."""
    text = [index for index, flag in enumerate(flags) if not flag]
    first = next((one + 1 for one, two in pairwise(text) if two > one + 1), len(flags))
    begin = next((index for index in text if index > first), len(flags))
    return [int(index >= begin) for index in range(len(flags))]


def _decoded(tokenizer: Any, number: int, special: bool) -> str:
    raw = str(tokenizer.convert_ids_to_tokens([number])[0])
    if special:
        return raw if raw.isprintable() else _role(tokenizer, number, raw)
    shown = _legible(tokenizer.decode([number]))
    if "\ufffd" in shown:
        return "\ufffd"
    if shown:
        return shown
    # Tokenizers that put spaces back between words decode a lone space to nothing.
    if raw in SPACES:
        return "␣"
    # A byte that is no character by itself must not be shown as the letter which stands for it in the vocabulary.
    return raw if len(raw) > 1 or raw.isascii() else "\ufffd"


def _role(tokenizer: Any, number: int, raw: str) -> str:
    """The role of a special token whose own character cannot be seen (private use, control), such as [CLS]."""
    roles = ("cls", "sep", "mask", "bos", "eos", "pad")
    return next((f"[{role.upper()}]" for role in roles if getattr(tokenizer, f"{role}_token_id", None) == number), raw)


def _legible(text: str) -> str:
    """What a piece shows: its text, or marks where that is white space alone."""
    return text.strip() or re.sub(r"[^⏎⇥]", "␣", text.replace("\n", "⏎").replace("\t", "⇥"))


def _pad(tokenizer: Any, rows: list[dict[str, Any]], pad_id: int | None) -> tuple[dict[str, Tensor], tuple[slice, ...]]:
    length = max(len(row["input_ids"]) for row in rows)
    if pad_id is None:
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in rows[0]]
    fill = {"input_ids": pad_id, "attention_mask": 0, "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0)}
    inputs: dict[str, Tensor] = {}
    # Always on the right, whatever the tokenizer prefers for generation: many models count positions from the left end
    # without looking at the mask, and would see a shifted text.
    runs = [slice(0, len(row["input_ids"])) for row in rows]
    for name in names:
        padded = [list(row[name]) + [fill[name]] * (length - run.stop) for row, run in zip(rows, runs, strict=True)]
        inputs[name] = torch.tensor(padded, dtype=torch.long)
    if "attention_mask" not in inputs:
        inputs["attention_mask"] = torch.zeros(len(rows), length, dtype=torch.long)
        for index, run in enumerate(runs):
            inputs["attention_mask"][index, run] = 1
    return inputs, tuple(runs)


def tokens_of_ids(tokenizer: Any, ids: Sequence[int], text: str | None = None) -> Tokens:
    """Tokens for ids that a model wrote or was given, rather than for a text.

    Args:
        text: what the ids spell; decoded from them by default.
    """
    numbers = [int(number) for number in ids]
    special_ids = special_token_ids(tokenizer)
    shown = tokenizer.decode([each for each in numbers if each not in special_ids]) if text is None else text
    row: dict[str, Any] = {
        "input_ids": numbers,
        "special_tokens_mask": [int(number in special_ids) for number in numbers],
        "sequence_ids": None,
        "of_text": text is not None,
    }
    offsets = _offsets(tokenizer, shown, numbers, special_ids)
    if offsets is not None:
        row["offset_mapping"] = offsets
    return _tokens(tokenizer, special_ids, row, (shown, None))


def _offsets(tokenizer: Any, text: str, ids: list[int], special_ids: set[int]) -> list[tuple[int, int]] | None:
    """The tokenizer's own offsets, if it reads the text as the very same ids (special ones aside)."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    read = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    plain = [number for number in ids if number not in special_ids]
    if list(read["input_ids"]) != plain:
        return None
    found = iter(read["offset_mapping"])
    return [(0, 0) if number in special_ids else next(found) for number in ids]
