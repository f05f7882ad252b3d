"""How a text is divided: one function per level, in one table.

A splitter takes a text and returns its parts in order. A new level is a function and a line in :data:`SPLITTERS`; a
function of the user's own may also stand wherever a level may. Turns, thoughts and documents are not found in the text
but known from the chat that it was made of (:mod:`.chat_parts`); they stand in ``tokens.parts``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import regex

from attention_analyzer.errors import InputError
from attention_analyzer.text.parts import Part, Parts, divide, texts_of, unique_names
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.words import word_spans

#: A text → its parts.
Splitter = Callable[[str], Sequence[Part]]
#: A level's name, a splitter, or parts of the user's own.
Level = str | Splitter | Sequence[Part] | Parts
#: Levels that a chat brings along, coarse to fine.
CHAT_LEVELS = ("turn", "document", "section")

#: Levels that are finer than sections.
_INSIDE_SECTIONS = ("word", "sentence", "paragraph")
_ABBREVIATIONS = r"(?<!\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|No|Fig|Eq|cf|al|approx|e\.g|i\.e|\p{Lu})\.)"
#: A sentence ends with its closing marks where no small letter follows, or with its line (compare UAX #29, SB6–SB11).
_SENTENCE_END = regex.compile(
    rf"(?:[.!?…]+{_ABBREVIATIONS}[\"'”’)\]»]*(?=\s+[^\s\p{{Ll}}]|\s*$)|[。！？]+[”’」』）]*|\n+)\s*"
)
_PARAGRAPH_END = regex.compile(r"\n[^\S\n]*\n\s*")


def words(text: str) -> list[Part]:
    """Words, as everywhere in this library, and marks between them."""
    return _numbered("word", word_spans(text))


def sentences(text: str) -> list[Part]:
    """Sentences; a line ends one, too."""
    return _numbered("sentence", _between(text, _SENTENCE_END))


def paragraphs(text: str) -> list[Part]:
    """Paragraphs: what stands between empty lines."""
    return _numbered("paragraph", _between(text, _PARAGRAPH_END))


def fields(text: str) -> list[Part]:
    """The entries of a JSON object, or the items of a JSON list, at the top level.

    Raises:
        InputError: the text is no JSON object or list.
    """
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] not in ("{", "["):
        raise InputError("Fields are those of a JSON object or list, but the text begins otherwise.")
    try:
        json.loads(text)
        return list(_entries(text, start))
    except ValueError as error:
        raise InputError(f"Fields are those of a JSON object or list, but the text is no JSON: {error}.") from None


def functions(text: str) -> list[Part]:
    """Functions and classes of Python code at the top level, with their decorators.

    Raises:
        InputError: the text is no Python code.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"Functions are those of Python code, but the text is none: {error}.") from None
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    result: list[Part] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            last = node.end_lineno or node.lineno
            name = node.name if all(part.name != node.name for part in result) else f"{node.name} (line {first})"
            result.append(Part(name, starts[first - 1], starts[last], "function"))
    return result


SPLITTERS: dict[str, Splitter] = {
    "word": words,
    "sentence": sentences,
    "paragraph": paragraphs,
    "field": fields,
    "function": functions,
}


def parts_of(tokens: Tokens, level: Level | None = None) -> Parts:
    """The parts of a text.

    Args:
        level: a name ("sentence", "turn" …), parts of your own in the order of the text, or a function that returns
            them for a text. By default the sections of a chat (its turns, thoughts and documents), else sentences.

    Raises:
        InputError: the level is not known or the text has none of it, or parts overlap or hold no token.
    """
    if isinstance(level, Parts):
        if level.tokens is not tokens and level.tokens != tokens:
            raise InputError(f"The parts of the level {level.level!r} are of another text; take them from this record.")
        return level
    stored = {part.level for part in tokens.parts}
    if level is None:
        level = "section" if "section" in stored else "sentence"
    if isinstance(level, str) and level in stored:
        return divide(tokens, [part for part in tokens.parts if part.level == level], level)
    if isinstance(level, str):
        if level in CHAT_LEVELS:
            raise InputError(
                f"This text has no {level}s: they are known for chats, so give messages (and documents=…) instead of "
                "a text, or parts of your own."
            )
        if level not in SPLITTERS:
            known = ", ".join(dict.fromkeys([*SPLITTERS, *CHAT_LEVELS, *sorted(stored)]))
            raise InputError(f"There is no level {level!r}; the levels are {known}.")
        return _divided(tokens, SPLITTERS[level], level)
    if callable(level):
        return _divided(tokens, level, getattr(level, "__name__", "span"))
    given = list(level)
    if not given or not all(isinstance(part, Part) for part in given):
        raise InputError("Parts of your own are a list of Part(name, start, end); at least one is needed.")
    return divide(tokens, given, "span")


def _divided(tokens: Tokens, splitter: Splitter, level: str) -> Parts:
    found: list[Part] = []
    for segment, text in enumerate(texts_of(tokens)):
        for start, stop in _runs(tokens, segment, len(text)) if level in _INSIDE_SECTIONS else [(0, len(text))]:
            found += [
                Part(part.name, part.start + start, part.end + start, level, segment)
                for part in splitter(text[start:stop])
            ]
    if level in _INSIDE_SECTIONS:
        found = [replace(part, name=f"{level} {number}") for number, part in enumerate(found, start=1)]
    return divide(tokens, unique_names(found), level, strict=False)


def _runs(tokens: Tokens, segment: int, size: int) -> list[tuple[int, int]]:
    """The sections of a chat, with what lies between them: no sentence reaches from one turn into the next."""
    sections = [part for part in tokens.parts if part.level == "section" and part.segment == segment]
    cuts = sorted({0, size, *(part.start for part in sections), *(part.end for part in sections)})
    return list(pairwise(cuts))


def _numbered(level: str, spans: Sequence[tuple[int, int]]) -> list[Part]:
    return [Part(f"{level} {number}", start, end, level) for number, (start, end) in enumerate(spans, start=1)]


def _between(text: str, end: regex.Pattern[str]) -> list[tuple[int, int]]:
    """Runs that each end with a match of ``end``; those of white space alone join the one before."""
    stops = [match.end() for match in end.finditer(text)]
    spans: list[tuple[int, int]] = []
    start = 0
    for stop in [*stops, len(text)]:
        if not text[start:stop].strip():
            continue
        spans.append((start, stop))
        start = stop
    return spans


def _entries(text: str, start: int) -> Iterator[Part]:
    decoder = json.JSONDecoder()
    is_object = text[start] == "{"
    at, number = _past_spaces(text, start + 1), 0
    while text[at] not in "}]":
        begin, name = at, f"item {number}"
        if is_object:
            key, at = decoder.raw_decode(text, at)
            name, at = str(key), _past_spaces(text, _past_spaces(text, at) + 1)
        _, at = decoder.raw_decode(text, at)
        at = _past_spaces(text, at)
        if text[at] == ",":
            at = _past_spaces(text, at + 1)
        yield Part(name or "(empty)", begin, at, "field")
        number += 1


def _past_spaces(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at
