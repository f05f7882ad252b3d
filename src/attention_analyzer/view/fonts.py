"""Fonts for the characters of any text: those that are preferred, others of this machine that have what these lack."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

#: In order of preference; those that are not installed are passed over.
_PREFERRED = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
)
#: Matplotlib's font of boxes, which has "every" character.
_BOXES = "Last Resort"
#: By the first word of a character's name: packages of Debian and Ubuntu; other systems call them alike.
_PACKAGES = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"), "fonts-noto-cjk")
_MOST_NAMED = 5


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """Those of the preferred fonts that are installed."""
    from matplotlib.font_manager import get_font_names

    installed = frozenset(get_font_names())
    return tuple(name for name in _PREFERRED if name in installed) or ("sans-serif",)


def fonts_for(text: str) -> tuple[str, ...]:
    """The preferred fonts, and after them others of this machine for the characters that these lack."""
    lacking = _lacking(text, fonts())
    return (*fonts(), *dict.fromkeys(found for each in sorted(lacking) if (found := _font_with(each)) is not None))


def without_glyph(text: str) -> list[str]:
    """The characters of a text that no font of this machine has, in order."""
    return sorted(each for each in _lacking(text, fonts()) if _font_with(each) is None)


def glyph_warning(characters: Iterable[str]) -> str:
    """One sentence about characters that are drawn as boxes, with the package to install."""
    lacking = list(characters)
    named = ", ".join(lacking[:_MOST_NAMED])
    more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
    packages = " and ".join(dict.fromkeys(_package(each) for each in lacking))
    return (
        f"No font of this machine has {named}{more}: boxes are drawn in their place; install a font that has them "
        f"(on Debian and Ubuntu the package {packages}), or write an SVG with svg_text=True (attn figure --svg-text), "
        "which keeps text as text."
    )


def _package(character: str) -> str:
    name = unicodedata.name(character, "")
    if unicodedata.category(character) in ("So", "Sk") and ord(character) >= 0x1F000:
        return "fonts-symbola"  # matplotlib draws no emoji in color
    return _PACKAGES.get(name.partition(" ")[0].partition("-")[0], "fonts-noto-core")


def _lacking(text: str, families: tuple[str, ...]) -> set[str]:
    """The characters that none of these fonts has; white space and what only shapes its neighbors need none."""
    unseen = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
    wanted = {each for each in text if ord(each) > 0x7F and unicodedata.category(each) not in unseen}
    wanted = {each for each in wanted if not 0xFE00 <= ord(each) <= 0xFE0F}
    for family in families:
        if not wanted:
            break
        codes = _codes(_path(family))
        wanted = {each for each in wanted if ord(each) not in codes}
    return wanted


@lru_cache(maxsize=4096)
def _font_with(character: str) -> str | None:
    """The best installed font that has a character; None if there is none."""
    return next((name for name, path in _installed() if ord(character) in _codes(path)), None)


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    """Names and files of the regular fonts of this machine, plain families first; new ones are found, too."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known:
            try:
                fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):
                continue  # not a font that matplotlib can use
    found = {
        entry.name: entry.fname
        for entry in fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular", "book") and _BOXES not in entry.name
    }

    def rank(name: str) -> tuple[bool, bool, str]:
        return not name.startswith("Noto Sans"), not name.startswith("Noto"), name

    return tuple((name, found[name]) for name in sorted(found, key=rank))


@lru_cache(maxsize=64)
def _path(family: str) -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(family))


@lru_cache(maxsize=512)
def _codes(path: str) -> frozenset[int]:
    """The characters that a font has; none for what cannot be drawn, such as fonts of colored bitmaps."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
