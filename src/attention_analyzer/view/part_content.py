"""The levels of parts that a page can fold a text to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_analyzer.text.parts import Parts
from attention_analyzer.text.splitters import CHAT_LEVELS, parts_of
from attention_analyzer.text.tokens import Tokens

#: Levels that are looked for in every text, besides those that a chat brings along.
FOUND = ("paragraph", "sentence")
#: More parts than this are no overview of a text.
MOST = 1000


def levels_of(tokens: Tokens, own: Sequence[Parts] = ()) -> list[Parts]:
    """Levels that divide a text in two parts or more, those of the user's own first; of equal ones the first.

    Args:
        own: divisions of these tokens that other analyses have made.
    """
    found = [parts for parts in own if parts.tokens == tokens]
    if tokens.texts:
        known = {part.level for part in tokens.parts}
        names = [*(level for level in reversed(CHAT_LEVELS) if level in known), *FOUND]
        found += [parts_of(tokens, level) for level in names]
    different: dict[tuple[int, ...], Parts] = {}
    for parts in found:
        with_text = sum(part.end > part.start for part in parts.parts)
        if with_text >= 2 and len(parts) <= MOST:
            different.setdefault(parts.borders, parts)
    return list(different.values())


def levels_content(tokens: Tokens, own: Sequence[Parts] = ()) -> list[dict[str, Any]]:
    """Levels as header entries: part ``i`` has the tokens ``borders[i]`` to ``borders[i + 1] - 1``."""
    return [
        {"name": parts.level, "names": list(parts.names), "borders": list(parts.borders)}
        for parts in levels_of(tokens, own)
    ]
