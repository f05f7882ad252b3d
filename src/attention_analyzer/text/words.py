"""Words of a text, found the same way whatever tokenizer the model has, so that models can be compared by words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: A run of letters, marks and digits, with apostrophes or hyphens inside; scripts that write no spaces give one
#: character a word; anything else that is visible is a word of its own.
_NO_SPACES = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_NO_SPACES}]|(?:(?![{_NO_SPACES}])\w)+(?:['’\-](?:(?![{_NO_SPACES}])\w)+)*|[^\w\s]+?")

Span = tuple[int, int]


def word_spans(text: str) -> list[Span]:
    """Character spans of the words of a text, in order. Combining marks stay with their letter."""
    spans: list[Span] = []
    for match in _WORD.finditer(text):
        start, stop = match.span()
        joins = spans and spans[-1][1] == start and unicodedata.category(text[start]) in ("Mn", "Mc", "Me", "Cf")
        if joins:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


@lru_cache(maxsize=1 << 16)
def is_punctuation(text: str) -> bool:
    """Whether a piece shows nothing but punctuation (Unicode categories P*)."""
    shown = text.strip()
    return bool(shown) and all(unicodedata.category(character).startswith("P") for character in shown)
