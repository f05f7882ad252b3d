"""Parts of a text: sentences, turns, documents and whatever else has a name, each a run of characters and of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from attention_analyzer.errors import InputError, SelectionError

if TYPE_CHECKING:
    from attention_analyzer.text.tokens import Tokens

#: Characters of a part that are shown in tables.
SHOWN = 60


@dataclass(frozen=True)
class Part:
    """A named run of characters.

    Attributes:
        name: unique among the parts of its level.
        start, end: characters ``[start, end)`` of the text.
        level: "sentence", "turn", "document" …; "span" for a span of the user's own.
        segment: which of the texts, 0 or 1 (the second text of a pair).
    """

    name: str
    start: int
    end: int
    level: str = "span"
    segment: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "start": self.start,
            "end": self.end,
            "level": self.level,
            "segment": self.segment,
        }


@dataclass(frozen=True)
class Parts:
    """The parts of one level: they follow one another, and every token belongs to exactly one.

    Attributes:
        level: what they are.
        parts: in the order of the text; their characters joined are the text. A part of special tokens that stand
            for no characters ([CLS]) is empty as text.
        borders: part ``i`` has the tokens ``borders[i]`` to ``borders[i + 1] - 1``.
        tokens: the tokens that are divided.
    """

    level: str
    parts: tuple[Part, ...]
    borders: tuple[int, ...]
    tokens: Tokens

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:6]) + (", …" if len(self) > 6 else "")
        return f"<Parts: {len(self)} of the level {self.level!r}: {shown}>"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many tokens each part has."""
        return tuple(stop - start for start, stop in pairwise(self.borders))

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """The number of each token's part."""
        return tuple(number for number, size in enumerate(self.sizes) for _ in range(size))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each part."""
        sources = texts_of(self.tokens)
        return tuple(sources[part.segment][part.start : part.end] for part in self.parts)

    def number(self, name: str) -> int:
        """The number of the part of this name.

        Raises:
            SelectionError: there is none.
        """
        if name not in self.names:
            known = ", ".join(self.names[:12]) + (", …" if len(self) > 12 else "")
            raise SelectionError(f"There is no part {name!r} at the level {self.level!r}; there are {known}.")
        return self.names.index(name)

    def positions(self, name: str) -> range:
        """The tokens of the part of this name.

        Raises:
            SelectionError: there is none.
        """
        number = self.number(name)
        return range(self.borders[number], self.borders[number + 1])

    def shown(self, number: int) -> str:
        """The beginning of a part's text on one line."""
        text = " ".join(self.texts[number].split())
        return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def texts_of(tokens: Tokens) -> tuple[str, ...]:
    """The texts that characters of parts are counted in; pieces joined, where tokens have no text."""
    return tokens.texts or ("".join(tokens.pieces),)


def places_of(tokens: Tokens) -> list[tuple[int, int] | None]:
    """Where each token stands in its text; None for what the tokenizer added to the text ([CLS], a space).

    Special tokens that the text spells itself, as a chat template writes them, are found by their spelling.
    """
    if not tokens.texts:
        stops = [0]
        for piece in tokens.pieces:
            stops.append(stops[-1] + len(piece))
        return list(pairwise(stops))
    places: list[tuple[int, int] | None] = list(tokens.spans)
    reached, segment = 0, 0
    for index, (piece, special, of) in enumerate(zip(tokens.pieces, tokens.is_special, tokens.segments, strict=True)):
        if of != segment:
            reached, segment = 0, of
        span = places[index]
        if span is None and special:
            text = tokens.texts[of]
            at = reached
            while text[at : at + 1].isspace():
                at += 1
            if piece and text.startswith(piece, at):
                span = places[index] = (at, at + len(piece))
        if span is not None:
            reached = max(reached, span[1])
    return places


def divide(tokens: Tokens, parts: Sequence[Part], level: str, *, strict: bool = True, rest: str = "other") -> Parts:
    """Divide tokens among parts; what no part covers becomes parts of its own.

    A token that reaches over a border belongs to the part in which it ends, and the border moves to its start.

    Args:
        parts: in the order of the text, without overlaps.
        strict: refuse a part in which no token ends; otherwise its characters go to a neighbor.
        rest: the name of what no part covers.

    Raises:
        InputError: parts overlap, are not in order, lie outside of the text, share a name, or hold no token.
    """
    texts = texts_of(tokens)
    _check(parts, texts)
    covering = _covering(parts, texts, level, rest)
    places = places_of(tokens)
    owners = _owners(places, tokens.segments, covering)
    if strict:
        _check_tokens(parts, covering, owners)
    made: list[Part] = []
    borders: list[int] = []
    for index, owner in enumerate(owners):
        new = index == 0 or owner != owners[index - 1]
        if not new:
            continue
        segment = tokens.segments[index]
        place = places[index]
        if owner is None:  # a token that is no text: an empty part between its neighbors
            at = next((part.end for part in reversed(made) if part.segment == segment), 0)
            made.append(Part(_joined(tokens, owners, index), at, at, level, segment))
        else:
            own = covering[owner]
            start = own.start if place is None else min(own.start, place[0])
            made.append(replace(own, start=start, level=level))
        borders.append(index)
    return Parts(level, unique_names(_closed(made, texts)), (*borders, len(tokens)), tokens)


def _check(parts: Sequence[Part], texts: Sequence[str]) -> None:
    counts = Counter(part.name for part in parts)
    before: Part | None = None
    for part in parts:
        offsets: tuple[object, object] = (part.start, part.end)
        if not part.name or not all(type(offset) is int for offset in offsets):
            raise InputError(f"A part is Part(name, start, end) with character offsets, not {part!r}.")
        if counts[part.name] > 1:
            raise InputError(f"Two parts are named {part.name!r}; give each its own name.")
        if not 0 <= part.segment < len(texts):
            raise InputError(f"Part {part.name!r} is of text {part.segment}, but there are {len(texts)} texts.")
        size = len(texts[part.segment])
        if not 0 <= part.start < part.end <= size:
            raise InputError(
                f"Part {part.name!r} has the characters {part.start} to {part.end}, but the text has {size}; "
                "give 0 ≤ start < end ≤ the text's length."
            )
        if before is not None and (part.segment, part.start) < (before.segment, before.start):
            raise InputError(f"Part {part.name!r} begins before {before.name!r}; give parts in the order of the text.")
        if before is not None and part.segment == before.segment and part.start < before.end:
            raise InputError(
                f"The parts {before.name!r} (to character {before.end}) and {part.name!r} (from {part.start}) "
                "overlap; parts of one level must not."
            )
        before = part


def _covering(parts: Sequence[Part], texts: Sequence[str], level: str, rest: str) -> list[Part]:
    """The parts with what lies between them; white space alone goes to the part before it."""
    result: list[Part] = []
    for segment, text in enumerate(texts):
        reached = 0
        own = [part for part in parts if part.segment == segment]
        for part in [*own, Part("", len(text), len(text), level, segment)]:
            gap = text[reached : part.start]
            if gap.strip() or (gap and not (result and result[-1].segment == segment) and not part.name):
                result.append(Part(rest, reached, part.start, level, segment))
            elif gap and result and result[-1].segment == segment:
                result[-1] = replace(result[-1], end=part.start)
            elif gap:
                part = replace(part, start=reached)
            if part.name:
                result.append(part)
                reached = part.end
    return result


def _owners(
    places: Sequence[tuple[int, int] | None], segments: Sequence[int], covering: Sequence[Part]
) -> list[int | None]:
    """The number of each token's covering part, by its last character; None for tokens that are no text."""
    owners: list[int | None] = []
    at = 0
    for place, segment in zip(places, segments, strict=True):
        if place is None or place[1] <= place[0]:
            owners.append(None)
            continue
        last = place[1] - 1
        while at + 1 < len(covering) and (covering[at].segment, covering[at].end) <= (segment, last):
            at += 1
        owners.append(at)
    return owners


def _check_tokens(parts: Sequence[Part], covering: Sequence[Part], owners: Sequence[int | None]) -> None:
    held = {covering[owner].name for owner in owners if owner is not None}
    for part in parts:
        if part.name not in held:
            raise InputError(
                f"No token ends in the part {part.name!r} (characters {part.start} to {part.end}); make it longer, "
                "or cut the text's end less."
            )


def _joined(tokens: Tokens, owners: Sequence[int | None], start: int) -> str:
    stop = start
    while stop < len(owners) and owners[stop] is None:
        stop += 1
    return "".join(tokens.pieces[start:stop])


def _closed(made: list[Part], texts: Sequence[str]) -> list[Part]:
    """Each part reaches to the next one of its text, the first from its beginning and the last to its end."""
    result: list[Part] = []
    for segment, text in enumerate(texts):
        own = [part for part in made if part.segment == segment]
        starts = [0 if number == 0 else part.start for number, part in enumerate(own)]
        stops = [*starts[1:], len(text)]
        result += [
            replace(part, start=start, end=max(start, stop))
            for part, start, stop in zip(own, starts, stops, strict=True)
        ]
    return result


def unique_names(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts whose names occur more than once are numbered."""
    counts, seen = Counter(part.name for part in parts), Counter[str]()
    taken = {name for name, count in counts.items() if count == 1}
    result = []
    for part in parts:
        name = part.name
        if counts[name] > 1:
            seen[name] += 1
            while f"{name} {seen[name]}" in taken:
                seen[name] += 1
            name = f"{name} {seen[part.name]}"
        result.append(replace(part, name=name))
    return tuple(result)
