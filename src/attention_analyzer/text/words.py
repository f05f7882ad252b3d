"""Words of a text, found the same way whatever tokenizer the model has, so that models can be compared by words.

Characters are told apart by their Unicode properties and taken together in grapheme clusters (UAX 29), both from the
package ``regex``: no word begins or ends inside of what a reader sees as one character.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

#: In order: a Han or Hiragana character alone, because these scripts write no spaces; a run of Katakana; a run of
#: letters, marks and digits, with apostrophes or hyphens inside, and a point or comma between digits; and anything else
#: that is visible, one grapheme cluster a word (an emoji with its modifiers, a punctuation mark). A run of Thai, Lao,
#: Khmer or Burmese is one word as far as it is written without a space, since only a dictionary could divide it.
_EXTENDS = r"[\p{M}\p{Cf}\p{GCB=Extend}\p{GCB=SpacingMark}]*+"
_LETTER = rf"(?:(?![\p{{Han}}\p{{Hiragana}}\p{{Katakana}}])\w{_EXTENDS})"
_WORD = regex.compile(
    rf"[\p{{Han}}\p{{Hiragana}}]{_EXTENDS}(?:ー{_EXTENDS})*+"
    rf"|(?:[\p{{Katakana}}ー]{_EXTENDS})++"
    rf"|{_LETTER}++(?:(?:['’\-]|(?<=\d)[.,](?=\d)){_LETTER}++)*+"
    r"|(?![\s\p{Cc}\p{Cf}])\X"
)

Span = tuple[int, int]


def word_spans(text: str) -> list[Span]:
    """Character spans of the words of a text, in order."""
    return [match.span() for match in _WORD.finditer(text)]


@lru_cache(maxsize=1 << 16)
def is_punctuation(text: str) -> bool:
    """Whether a piece shows nothing but punctuation (Unicode categories P*)."""
    shown = text.strip()
    return bool(shown) and all(unicodedata.category(character).startswith("P") for character in shown)
