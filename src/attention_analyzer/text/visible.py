"""Characters that show nothing, or would break a line, a table or a terminal, as visible marks.

One function for figures, tables and pages, so that a token looks the same everywhere.
"""

from __future__ import annotations

import unicodedata

_WHITE = {"\n": "⏎", "\t": "⇥"}
_NAMES = {
    0x00: "NUL", 0x07: "BEL", 0x08: "BS", 0x0B: "VT", 0x0C: "FF", 0x0D: "CR", 0x1B: "ESC", 0x7F: "DEL",
    0x85: "NEL", 0xAD: "SHY", 0x34F: "CGJ", 0x200B: "ZWSP", 0x200C: "ZWNJ", 0x200D: "ZWJ", 0x200E: "LRM",
    0x200F: "RLM", 0x2028: "LS", 0x2029: "PS", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO",
    0x202E: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xFEFF: "BOM",
}  # fmt: skip
#: Letters by category that show nothing.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u2800\u3164\uffa0")
#: Format characters that do show something: signs over numbers and words.
_SHOWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_DOTTED_CIRCLE = "◌"
_JOINERS = (0x200C, 0x200D)
#: Variation selectors, and the tags of flags.
_VARIANTS = ((0xFE00, 0xFE0F), (0xE0020, 0xE007F), (0xE0100, 0xE01EF))


def visible(text: str) -> str:
    """A text in which everything shows.

    Line ends and tabs become ⏎ and ⇥; other control and format characters, lone surrogates, private characters and
    blank letters their names, such as ‹ZWSP›, ‹ESC› or ‹U+D800›; spaces that stand alone ␣. Joiners and variation
    selectors stay where they shape what is around them (Persian, Indic scripts, emoji). A combining mark with nothing
    to combine with stands on a dotted circle.
    """
    if text.isascii() and text.isprintable() and text.strip():
        return text
    if text and not text.strip(" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\n\t"):
        return "".join(_WHITE.get(character, "␣") for character in text)
    shown = [_shown(text, at) for at in range(len(text))]
    if shown and shown[0] == text[0] and unicodedata.category(text[0]).startswith("M"):
        shown.insert(0, _DOTTED_CIRCLE)
    return "".join(shown)


def label(text: str, most: int = 18) -> str:
    """A visible text of at most so many characters, on one line; a longer one ends in …."""
    shown = visible(text)
    if len(shown) <= most:
        return shown
    end = most - 1
    while end > 1 and (_shapes(shown[end]) or unicodedata.category(shown[end]).startswith("M")):
        end -= 1  # not between a letter and its marks
    opened = shown.rfind("‹", max(0, end - 8), end)
    if opened > 0 and "›" not in shown[opened:end]:
        end = opened  # not inside a name
    return f"{shown[:end]}…"


def _shown(text: str, at: int) -> str:
    character = text[at]
    if character in _WHITE:
        return _WHITE[character]
    category = unicodedata.category(character)
    shows = category not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in _BLANK
    if _shapes(character):
        shows = _joins(text, at)
    if shows or character in _SHOWN:
        return character
    code = ord(character)
    return f"‹{_NAMES.get(code, f'U+{code:04X}')}›"


def _shapes(character: str) -> bool:
    """Whether a character has no form of its own, but changes that of its neighbors."""
    code = ord(character)
    return (
        code in (0x200C, 0x200D) or 0xFE00 <= code <= 0xFE0F or 0xE0020 <= code <= 0xE007F or 0xE0100 <= code <= 0xE01EF
    )


def _joins(text: str, at: int) -> bool:
    before = next((text[index] for index in range(at - 1, -1, -1) if not _shapes(text[index])), "")
    if not before or ord(before) < 0x80 or unicodedata.category(before)[0] in "CZ":
        return False
    if ord(text[at]) not in _JOINERS:
        return True
    after = text[at + 1 : at + 2]
    return bool(after) and ord(after) >= 0x80 and unicodedata.category(after)[0] in "LMSN"
