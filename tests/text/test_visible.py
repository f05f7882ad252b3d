"""Everything in a token shows: marks for what has no form, nothing changed that has one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer.text.visible import label, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two words", "two words"),
        ("", ""),
        (" ", "␣"),
        ("\u3000 ", "␣␣"),
        ("\n", "⏎"),
        (" \t\n", "␣⇥⏎"),
        ("a\nb\tc", "a⏎b⇥c"),
        ("\x1b[31mred", "‹ESC›[31mred"),
        ("\x00\x85\x9b", "‹NUL›‹NEL›‹U+009B›"),
        ("a\u200bb\ufeff", "a‹ZWSP›b‹BOM›"),
        ("\u202eabc", "‹RLO›abc"),
        ("soft\u00adhyphen", "soft‹SHY›hyphen"),
        ("\ud800x", "‹U+D800›x"),
        ("\ue000\u3164", "‹U+E000›‹U+3164›"),
        ("line\u2028end", "line‹LS›end"),
        # Joiners and selectors stay where they shape something, and only there.
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("🏴\U000e0067\U000e0062\U000e007f", "🏴\U000e0067\U000e0062\U000e007f"),
        ("\u200d", "‹ZWJ›"),
        ("a\u200db", "a‹ZWJ›b"),
        ("می\u200c", "می‹ZWNJ›"),
        ("\ufe0fx", "‹U+FE0F›x"),
        # Marks.
        ("cre\u0301me", "cre\u0301me"),
        ("\u0301", "◌\u0301"),
        ("\u093f", "◌\u093f"),
        ("हिन्दी", "हिन्दी"),
        ("\u0600\u0661", "\u0600\u0661"),
    ],
)
def test_marks(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_nothing_invisible_is_left(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Co", "Zl", "Zp"}
    assert "\n" not in label(text)
    assert bool(shown) == bool(text)
    assert shown.strip() or not text
    shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u115f\u1160\u2800\u3164\uffa0")))
def test_letters_signs_and_numbers_stay(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a" * 18, "a" * 18),
        ("a" * 19, "a" * 17 + "…"),
        ("a" * 14 + "\u200b" * 3, "a" * 14 + "…"),
        ("a" * 16 + "e\u0301" + "b" * 5, "a" * 16 + "…"),
    ],
)
def test_labels_are_cut_between_characters(text: str, shown: str) -> None:
    assert label(text) == shown
