"""Character spans of tokens whose tokenizer gives none (one written in Python), or that a model generated.

Tokens are decoded one after the other, each beside those before it, until what they spell is complete: a character cut
between several tokens belongs to all of them. What they spell is then looked for in the text, from where the last one
ended, first as it is and then without case, accents and compatibility forms, which tokenizers normalize.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from attention_analyzer.text.words import Span

#: A character has up to four bytes in UTF-8, and so up to as many tokens.
_LONGEST_CHARACTER = 4
#: Characters that a tokenizer may leave out between two tokens; a find further on is not this token.
_SKIPPED = 16


def spans_by_decoding(
    tokenizer: Any,
    ids: Sequence[int],
    special: Sequence[bool],
    segments: Sequence[int],
    texts: Sequence[str],
    unknown: int | None = None,
) -> list[Span | None]:
    """The characters ``[start, stop)`` of each token in the text of its segment; None for special tokens and spaces.

    Args:
        unknown: the id that stands for unknown words; such tokens get what lies between their neighbors.
    """
    spans: list[Span | None] = [None] * len(ids)
    for segment, text in enumerate(texts):
        own = [index for index in range(len(ids)) if segments[index] == segment and not special[index]]
        _Search(text, spans).place(_spelled(tokenizer, ids, own, unknown))
    return spans


def _spelled(
    tokenizer: Any, ids: Sequence[int], own: Sequence[int], unknown: int | None
) -> Iterable[tuple[list[int], str | None]]:
    """Groups of tokens with what they spell together; None for an unknown word."""
    for is_unknown, run in groupby(own, key=lambda index: ids[index] == unknown):
        if is_unknown:
            yield from (([index], None) for index in run)
        else:
            yield from _spelled_run(tokenizer, ids, list(run))


def _spelled_run(tokenizer: Any, ids: Sequence[int], run: list[int]) -> Iterable[tuple[list[int], str]]:
    def decode(first: int, last: int) -> str:
        return str(tokenizer.decode([ids[index] for index in run[first:last]]))

    context, start = 0, 0  # the group before, and where the present one begins
    before = ""
    for stop in range(1, len(run) + 1):
        after = decode(context, stop)
        new = after[len(before) :] if after.startswith(before) else decode(start, stop)
        incomplete = not new or new.endswith("\ufffd")
        if incomplete and stop - start < _LONGEST_CHARACTER and stop < len(run):
            continue
        # Tokens in front that add nothing (a lone mark of a space) are no part of the character.
        first = start
        while first < stop - 1 and new and decode(first + 1, stop).strip() == new.strip():
            yield [run[first]], ""
            first += 1
        yield run[first:stop], new
        context, start = start, stop
        before = decode(context, stop)


@dataclass
class _Search:
    """Looks for what tokens spell in one text, from left to right."""

    text: str
    spans: list[Span | None]

    def __post_init__(self) -> None:
        self.at = 0
        self.missing: list[int] = []
        self._folded, self._owner = _fold(self.text)
        # For each character of the text, where it begins in the folded one.
        self._start = [0] * (len(self.text) + 1)
        position = 0
        for character in range(len(self.text) + 1):
            while position < len(self._owner) and self._owner[position] < character:
                position += 1
            self._start[character] = position

    def place(self, groups: Iterable[tuple[list[int], str | None]]) -> None:
        for indices, spelled in groups:
            if spelled is not None and not spelled.strip():
                self._place_space(indices, spelled)
                continue
            found = None if spelled is None else self._find(spelled.strip())
            if found is None:
                self.missing += indices
                continue
            self._fill(self.at, found[0])
            self._give(indices, found)
        self._fill(self.at, len(self.text), at_end=True)

    def _place_space(self, indices: list[int], spelled: str) -> None:
        if spelled and not self.missing and self.text.startswith(spelled, self.at):
            self._give(indices, (self.at, self.at + len(spelled)))

    def _give(self, indices: list[int], span: Span) -> None:
        for index in indices:
            self.spans[index] = span
        self.at = span[1]

    def _find(self, spelled: str) -> Span | None:
        begin, limit = self._bounds(len(spelled))
        finds = chain(self._exact(spelled, begin, limit), self._without_case(spelled, begin, limit))
        first = next(finds, None)
        if first is None or not self.missing:
            return first
        # After an unknown word, rather where a word begins than inside of the unknown one.
        return next((span for span in chain([first], finds) if self.text[span[0] - 1 : span[0]].isspace()), first)

    def _exact(self, spelled: str, begin: int, limit: int) -> Iterable[Span]:
        at = self.text.find(spelled, begin, limit)
        while at >= 0:
            yield at, at + len(spelled)
            at = self.text.find(spelled, at + 1, limit)

    def _without_case(self, spelled: str, begin: int, limit: int) -> Iterable[Span]:
        folded, _ = _fold(spelled)
        stop = self._start[limit] + len(folded)
        at = self._folded.find(folded, self._start[begin], stop) if folded else -1
        while at >= 0:
            yield self._owner[at], self._owner[at + len(folded) - 1] + 1
            at = self._folded.find(folded, at + 1, stop)

    def _bounds(self, size: int) -> Span:
        """Where the next token may lie: behind a character, and at most a word, for each that could not be placed."""
        begin = limit = self.at
        for _ in self.missing:
            begin = self._skip(begin, spaces=True) + 1
            limit = self._skip(self._skip(limit, spaces=True), spaces=False)
        return min(begin, len(self.text)), min(limit + _SKIPPED + size, len(self.text))

    def _skip(self, at: int, *, spaces: bool) -> int:
        while at < len(self.text) and self.text[at].isspace() == spaces:
            at += 1
        return at

    def _fill(self, start: int, stop: int, at_end: bool = False) -> None:
        """Give the characters between two tokens to those that could not be placed: a word each, or all to all."""
        missing, self.missing = self.missing, []
        words = _parts(self.text, start, stop)
        if not missing or not words:
            return
        # A text that was cut has more words at its end than there are tokens.
        if len(words) == len(missing) or (at_end and len(words) > len(missing)):
            for index, word in zip(missing, words, strict=False):
                self.spans[index] = word
            return
        for index in missing:
            self.spans[index] = (words[0][0], words[-1][1])


def _parts(text: str, start: int, stop: int) -> list[Span]:
    """What stands between spaces."""
    parts: list[Span] = []
    for is_space, run in groupby(range(start, stop), key=lambda at: text[at].isspace()):
        if not is_space:
            at = list(run)
            parts.append((at[0], at[-1] + 1))
    return parts


def _fold(text: str) -> tuple[str, list[int]]:
    """The text without case, accents and compatibility forms, and for each of its characters the one it comes from."""
    folded: list[str] = []
    owner: list[int] = []
    for index, character in enumerate(text):
        for part in unicodedata.normalize("NFKD", character).casefold():
            if not unicodedata.combining(part):
                folded.append(part)
                owner.append(index)
    return "".join(folded), owner
