"""Words as readers see them: marks stay with their letters, characters stay whole, scripts without spaces divide."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_analyzer.text.words import word_spans


def words(text: str) -> list[str]:
    return [text[start:stop] for start, stop in word_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "हिन्दी भाषा",
        "ప్రధాన మంత్రి",
        "مَرْحَبا بِك",
        "cre\u0301me bru\u0302le\u0301e",
        "தமிழ் மொழி",
        "שָׁלוֹם רַב",
        "می\u200cخواهم بروم",
        "ภาษาไทย งามน้ำ",
        "한국어 단어",
        "well-known don't l’été 3.14 12,407 snake_case",
    ],
)
def test_what_stands_between_spaces_stays_whole(text: str) -> None:
    assert words(text) == text.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我爱北京 Python编程", ["我", "爱", "北", "京", "Python", "编", "程"]),
        ("ひらカタカナ漢字らーめん", ["ひ", "ら", "カタカナ", "漢", "字", "らー", "め", "ん"]),
        ("か\u3099く", ["か\u3099", "く"]),
        ("👩\u200d👩\u200d👧 🇩🇪🇫🇷 👍🏽!", ["👩\u200d👩\u200d👧", "🇩🇪", "🇫🇷", "👍🏽", "!"]),
        ("C++ 20% e.g.", ["C", "+", "+", "20", "%", "e", ".", "g", "."]),
        ("\ufeffHello\u0000there", ["Hello", "there"]),
    ],
)
def test_words_of_other_scripts_and_signs(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["aé\u0301'-.1", "कि्\u093e1", "ทำน้", "我がか\u3099ー한", "👍🏽🇩🇪!1"]).flatmap(
        lambda letters: st.text(alphabet=letters, max_size=20)
    )
)
def test_no_word_begins_or_ends_inside_a_grapheme_of_letters(text: str) -> None:
    edges = {0} | {match.end() for match in regex.finditer(r"\X", text)}
    for start, stop in word_spans(text):
        assert start < stop
        assert {start, stop} <= edges
