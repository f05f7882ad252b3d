"""Knock-outs between parts by name: ``answer>document 2``, ``L2H5:sentence 4>sentence 1``.

A name is that of a part at any level of the text: of its turns, thoughts and documents, or a number of a word, sentence
or paragraph. ``answer`` is what a model wrote, or the last turn of an assistant. Without heads all of them are meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.interventions.edges import KnockOut
from attention_analyzer.interventions.selection import shortened
from attention_analyzer.text.splitters import parts_of
from attention_analyzer.text.tokens import Tokens

#: What :class:`.KnockOut` itself understands as positions.
_POSITIONS = re.compile(r"\*|(?:last|-?\d+(?:--?\d+)?)(?:\s*,\s*(?:last|-?\d+(?:--?\d+)?))*")
_NUMBERED = re.compile(r"(word|sentence|paragraph) \d+")


def with_positions(
    knock_out: str | KnockOut | Iterable[str | KnockOut], tokens: Tokens, prompt_tokens: int | None = None
) -> str | KnockOut | list[str | KnockOut]:
    """The same edges with positions for names of parts.

    Args:
        prompt_tokens: how many tokens stand before what the model wrote, if it wrote a part of the text.

    Raises:
        SelectionError: the text has no part of that name.
    """
    if isinstance(knock_out, (str, KnockOut)):
        return _one(knock_out, tokens, prompt_tokens)
    return [_one(edge, tokens, prompt_tokens) for edge in knock_out]


def _one(edge: str | KnockOut, tokens: Tokens, prompt_tokens: int | None) -> str | KnockOut:
    if not isinstance(edge, str) or edge.count(">") != 1:
        return edge
    before, keys = (side.strip() for side in edge.split(">"))
    heads, colon, queries = before.rpartition(":")
    heads, queries = (heads.strip() or "*") if colon else "*", queries.strip()
    if not queries or not keys or (colon and _is_positions(queries) and _is_positions(keys)):
        return edge
    sides = [side if _is_positions(side) else _positions(side, tokens, prompt_tokens, edge) for side in (queries, keys)]
    return KnockOut(heads, *sides)


def _is_positions(side: str) -> bool:
    return _POSITIONS.fullmatch(side) is not None


def _positions(name: str, tokens: Tokens, prompt_tokens: int | None, edge: str) -> list[int]:
    levels = list(dict.fromkeys(part.level for part in tokens.parts))
    if name == "answer":
        if prompt_tokens is not None:
            return list(range(prompt_tokens, len(tokens)))
        turns = [part.name for part in tokens.parts if part.level == "turn" and part.name.startswith("assistant ")]
        name = turns[-1] if turns else name
    match = _NUMBERED.fullmatch(name)
    if match:
        levels.append(match[1])
    for level in levels:
        try:
            parts = parts_of(tokens, level)
        except InputError:
            continue
        if name in parts.names:
            return list(parts.positions(name))
    known = ", ".join(dict.fromkeys(part.name for part in tokens.parts)) or "sentences, as in 'sentence 2>sentence 1'"
    raise SelectionError(f"The text has no part {shortened(name)} ({shortened(edge)}); it has {known}.")
