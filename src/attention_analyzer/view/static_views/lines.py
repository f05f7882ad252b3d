"""Tokens set into lines, in the direction they are read: what a browser does for the Text view of a page."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.visible import label as label_of
from attention_analyzer.view.token_content import token_content

_STRONG = {"L": False, "R": True, "AL": True}


@dataclass(frozen=True)
class Placed:
    """One token in its line, in points: its left edge, its width, what it shows and how large."""

    token: int
    shown: str
    size: float
    width: float
    before: float
    line: int = 0
    x: float = 0.0


def set_lines(
    tokens: Tokens, measure: Callable[[str, float], float], *, room: float, sizes: tuple[float, float], box: float
) -> list[Placed]:
    """Tokens in lines no wider than ``room``; lines count from zero.

    Args:
        measure: the width of a text at a size.
        sizes: of the text, and of special tokens; these take ``box`` more, half of it on each side.
    """
    content = token_content(tokens)
    space = measure("a b", sizes[0]) - measure("ab", sizes[0])
    lines: list[list[Placed]] = [[]]
    used = 0.0
    for token, (surface, gap) in enumerate(zip(content["surfaces"], content["gaps"], strict=True)):
        special = bool(tokens.is_special[token])
        if surface.strip():
            # Some tokenizers count the space before a word to the word; on paper it is a gap.
            gap, surface = gap + surface[: len(surface) - len(surface.lstrip())], surface.strip()
        size = sizes[int(special)]
        # Later bytes of a character show it no second time; they keep a small place of their own.
        shown = label_of(surface) if surface else ("" if content["pieces"][token] else "∅")
        width = measure(shown, size) + (box if special else 0) if shown else 2.5
        before = space if gap and lines[-1] else 0.0
        if lines[-1] and used + before + width > room:
            lines.append([])
            used, before = 0.0, 0.0
        lines[-1].append(Placed(token, shown, size, width, before, len(lines) - 1))
        used += before + width
    to_left = _reads_to_left(tokens.text)
    return [item for line in lines for item in _ordered(line, to_left, room)]


def _reads_to_left(text: str) -> bool | None:
    """The direction of the first letter that has one."""
    return next((_STRONG[kind] for kind in map(unicodedata.bidirectional, text) if kind in _STRONG), None)


def _ordered(line: Sequence[Placed], to_left: bool | None, room: float) -> list[Placed]:
    """Left edges: runs of tokens that read the other way than the line are turned round in it."""
    base = bool(to_left)
    directions: list[bool] = []
    own = [_reads_to_left(item.shown) for item in line]
    for index, direction in enumerate(own):
        if direction is None:
            # What has no direction goes with its neighbors where both agree, else with the line.
            after = next((other for other in own[index + 1 :] if other is not None), base)
            before = directions[-1] if directions else base
            direction = before if before == after else base
        directions.append(direction)
    visual: list[Placed] = []
    runs = [[item for _, item in run] for _, run in groupby(zip(directions, line, strict=True), lambda pair: pair[0])]
    first = directions[0] if directions else base
    for number, run in enumerate(runs if not base else reversed(runs)):
        place = number if not base else len(runs) - 1 - number
        runs_left = first if place % 2 == 0 else not first
        visual += reversed(run) if runs_left else run
    x = room - sum(item.before + item.width for item in line) if base else 0.0
    placed = []
    for item in visual:
        gap = (0.0, item.before) if base else (item.before, 0.0)
        placed.append(replace(item, x=x + gap[0]))
        x += item.width + item.before
    return placed
