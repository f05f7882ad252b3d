"""Tokens as a person reads them: pieces in the text's own characters, words, character spans, special flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.fields import shown
from attention_analyzer.text.parts import Part
from attention_analyzer.text.place import Place, place_from_dict, place_to_dict
from attention_analyzer.text.words import Span, is_punctuation, word_spans


@dataclass(frozen=True)
class Tokens:
    """The tokens of one axis, padding left out.

    Attributes:
        pieces: what to show for each token: the text's own characters where they are known.
        ids: vocabulary ids; empty where tokens are not from a vocabulary (image patches, audio frames).
        spans: characters ``[start, stop)`` of each token in the text of its segment, or None.
        is_special: tokens that the tokenizer added ([CLS], <s>, …).
        is_separator: special tokens that end or divide segments ([SEP], </s>).
        segments: which of the texts a token belongs to (0; 1 in the second text of a pair).
        texts: the texts themselves, one per segment.
        parts: turns, thoughts and documents of the chat that the text was made of, by level; see :mod:`.parts`.
        places: where each token lies in an image, a film or a sound; None for a token that lies in none.
    """

    pieces: tuple[str, ...]
    ids: tuple[int, ...] = ()
    spans: tuple[Span | None, ...] = ()
    is_special: tuple[bool, ...] = ()
    is_separator: tuple[bool, ...] = ()
    segments: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    places: tuple[Place | None, ...] = ()

    def __post_init__(self) -> None:
        size = len(self.pieces)
        per_token = {"spans": None, "is_special": False, "is_separator": False, "segments": 0, "places": None}
        for name, empty in per_token.items():
            if not getattr(self, name):
                object.__setattr__(self, name, (empty,) * size)
            elif len(getattr(self, name)) != size:
                raise InputError(f"{size} tokens were given, but {len(getattr(self, name))} entries of {name!r}.")

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def text(self) -> str:
        """The text; the two of a pair are joined by a space."""
        return " ".join(self.texts) if self.texts else "".join(self.pieces)

    @cached_property
    def words(self) -> tuple[int | None, ...]:
        """The word each token belongs to, counted over all segments; None for special tokens."""
        if not any(self.spans):
            return self._words_without_spans()
        first_word = 0
        result: list[int | None] = [None] * len(self)
        for segment, (text, spans) in enumerate(zip(self.texts, self._spans_of_words, strict=True)):
            owner = [-1] * (len(text) + 1)
            for number, (start, stop) in enumerate(spans):
                owner[start:stop] = [number] * (stop - start)
            for index, span in enumerate(self.spans):
                if span is None or self.segments[index] != segment or self.is_special[index]:
                    continue
                number = next((owner[at] for at in range(*span) if owner[at] >= 0), -1)
                result[index] = first_word + number if number >= 0 else None
            first_word += len(spans)
        return tuple(result)

    @cached_property
    def word_texts(self) -> tuple[str, ...]:
        """The words, in the numbering of :attr:`words`."""
        if any(self.spans):
            pairs = zip(self.texts, self._spans_of_words, strict=True)
            return tuple(text[start:stop] for text, spans in pairs for start, stop in spans)
        count = max((word for word in self.words if word is not None), default=-1) + 1
        parts = [""] * count
        for word, piece in zip(self.words, self.pieces, strict=True):
            if word is not None:
                parts[word] += piece
        return tuple(parts)

    @cached_property
    def _spans_of_words(self) -> tuple[list[Span], ...]:
        return tuple(word_spans(text) for text in self.texts)

    @cached_property
    def is_punctuation(self) -> tuple[bool, ...]:
        pairs = zip(self.pieces, self.is_special, strict=True)
        return tuple(not special and is_punctuation(piece) for piece, special in pairs)

    @property
    def members(self) -> dict[str, tuple[bool, ...]]:
        """Which tokens belong to the groups that metrics ask for, by the group's name."""
        return {
            "first": (True, *(False,) * (len(self) - 1)) if len(self) else (),
            "special": self.is_special,
            "separator": self.is_separator,
            "punctuation": self.is_punctuation,
        }

    def groups(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Key groups that metrics ask for: bool ``[1, token]`` by name."""
        return {name: torch.tensor([flags], dtype=torch.bool, device=device) for name, flags in self.members.items()}

    def hidden(self, flags: Sequence[bool], mask: tuple[int, str]) -> Tokens:
        """The tokens with some of them replaced by a mask token: neither pieces nor texts show what they were.

        Args:
            flags: which, one per token; flags beyond the last token are padding.
            mask: the mask token's id and text.
        """
        texts = [list(text) for text in self.texts]
        for span, segment, flag in zip(self.spans, self.segments, flags, strict=False):
            if flag and span is not None and segment < len(texts):
                texts[segment][span[0] : span[1]] = "x" * (span[1] - span[0])
        chosen = list(flags[: len(self)])
        return replace(
            self,
            pieces=tuple(mask[1] if flag else piece for flag, piece in zip(chosen, self.pieces, strict=True)),
            ids=tuple(mask[0] if flag else number for flag, number in zip(chosen, self.ids, strict=True)),
            texts=tuple("".join(text) for text in texts),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        places = {"places": [place_to_dict(place) for place in self.places]} if any(self.places) else {}
        return {
            "pieces": list(self.pieces),
            "ids": list(self.ids),
            "spans": [None if span is None else list(span) for span in self.spans],
            "is_special": list(self.is_special),
            "is_separator": list(self.is_separator),
            "segments": list(self.segments),
            "texts": list(self.texts),
            **({"parts": [part.to_dict() for part in self.parts]} if self.parts else {}),
            **places,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tokens:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: a part is missing, has another length, or holds what is no token's.
        """
        parts = {name: _listed(data, name, is_entry) for name, is_entry in _ENTRIES.items()}
        spans = tuple(None if span is None else (span[0], span[1]) for span in parts.pop("spans"))
        places = tuple(map(place_from_dict, data["places"])) if isinstance(data.get("places"), list | tuple) else ()
        tokens = cls(spans=spans, parts=_parts(data), places=places, **parts)
        if tokens.ids and len(tokens.ids) != len(tokens):
            raise InputError(f"{len(tokens)} tokens were given, but {len(tokens.ids)} entries of 'ids'.")
        texts = len(tokens.texts)
        for segment, span in zip(tokens.segments, tokens.spans, strict=True):
            if segment >= max(texts, 1) or (span and (not texts or span[1] > len(tokens.texts[segment]))):
                raise InputError(f"A token lies at {span} of text {segment}, which is not there.")
        for part in tokens.parts:
            if part.segment >= texts or part.end > len(tokens.texts[part.segment]):
                raise InputError(f"The part {part.name[:60]!r} lies outside of the text.")
        return tokens

    @classmethod
    def positions(cls, count: int, prefix: str = "") -> Tokens:
        """Tokens that have no text: numbered positions (image patches, audio frames)."""
        return cls(pieces=tuple(f"{prefix}{index}" for index in range(count)))

    def head(self, count: int) -> Tokens:
        """The first ``count`` tokens; the texts stay whole."""
        per_token = ("pieces", "ids", "spans", "is_special", "is_separator", "segments", "places")
        return replace(self, **{name: getattr(self, name)[:count] for name in per_token})

    def followed_by(self, written: Tokens) -> Tokens:
        """These tokens of one text and what was written after them; the assistant's last turn reaches to its end."""
        size = len(self.texts[0])
        text = self.texts[0] + (written.texts[0] if written.texts else "")
        moved = (None if span is None else (span[0] + size, span[1] + size) for span in written.spans)
        return Tokens(
            pieces=(*self.pieces, *written.pieces),
            ids=(*self.ids, *written.ids),
            spans=(*self.spans, *moved),
            is_special=(*self.is_special, *written.is_special),
            is_separator=(*self.is_separator, *written.is_separator),
            segments=(*self.segments, *written.segments),
            texts=(text,),
            parts=tuple(
                replace(part, end=len(text)) if part.end == size and part.name.startswith("assistant ") else part
                for part in self.parts
            ),
        )

    def after_virtual(self, count: int, *, learned: bool = True) -> Tokens:
        """These tokens after others whose text is not known; their ids are -1.

        Args:
            learned: whether they are learned ones (prefix, prompt and P-tuning), which are special; otherwise they are
                what a cache held before.
        """
        name = "prefix" if learned else "earlier"
        return Tokens(
            pieces=(*(f"[{name} {index}]" for index in range(count)), *self.pieces),
            ids=(*(-1,) * count, *self.ids) if self.ids else (),
            spans=(*(None,) * count, *self.spans),
            is_special=(*(learned,) * count, *self.is_special),
            is_separator=(*(False,) * count, *self.is_separator),
            segments=(*self.segments[:1] * count, *self.segments),
            texts=self.texts,
            parts=self.parts,
        )

    @classmethod
    def of_pieces(cls, pieces: Sequence[str]) -> Tokens:
        """Tokens known only by what they show."""
        return cls(pieces=tuple(str(piece) for piece in pieces))

    def _words_without_spans(self) -> tuple[int | None, ...]:
        """Every piece is its own word; continuation marks of common tokenizers join it to the one before."""
        result: list[int | None] = []
        number = -1
        for piece, special in zip(self.pieces, self.is_special, strict=True):
            if special:
                result.append(None)
                continue
            if not (piece.startswith("##") and number >= 0):
                number += 1
            result.append(number)
        return tuple(result)


_LARGEST_ID = 1 << 63


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_ID


def _is_span(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value)) and value[0] <= value[1]


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_ID


#: What the lists of a description hold.
_ENTRIES: dict[str, Callable[[object], bool]] = {
    "pieces": lambda value: isinstance(value, str),
    "ids": _is_id,
    "spans": _is_span,
    "is_special": lambda value: isinstance(value, bool),
    "is_separator": lambda value: isinstance(value, bool),
    "segments": _is_count,
    "texts": lambda value: isinstance(value, str),
}


def _parts(data: object) -> tuple[Part, ...]:
    """The parts of a description; earlier versions have none."""
    if not isinstance(data, dict) or "parts" not in data:
        return ()
    return tuple(_part(value) for value in _listed(data, "parts", lambda value: isinstance(value, dict)))


def _part(value: dict[str, Any]) -> Part:
    name, level, start, end, segment = (value.get(entry) for entry in ("name", "level", "start", "end", "segment"))
    named = isinstance(name, str) and isinstance(level, str) and bool(name) and bool(level)
    if not (named and all(map(_is_count, (start, end, segment))) and int(start or 0) < int(end or 0)):
        raise InputError(f"The list 'parts' of the tokens holds {shown(value)}, which is not allowed there.")
    return Part(str(name), int(start or 0), int(end or 0), str(level), int(segment or 0))


def _listed(data: object, name: str, is_entry: Callable[[object], bool]) -> tuple[Any, ...]:
    values = data.get(name) if isinstance(data, dict) else None
    if not isinstance(values, list | tuple):
        raise InputError(f"The token description has no list {name!r}.")
    for value in values:
        if not is_entry(value):
            raise InputError(f"The list {name!r} of the tokens holds {shown(value)}, which is not allowed there.")
    return tuple(values)
