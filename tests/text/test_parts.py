"""Parts: every token in exactly one, their characters joined the text; and what cannot be divided."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer import AttentionAnalyzer, Tokens
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.parts import SPLITTERS, Part, parts_of
from attention_analyzer.text.tokenization import tokenize

TEXT = "The cat sat. It slept!\n\nDr. Ray came home. “Who is there?” she said, and left."


@pytest.fixture(scope="module", params=["demo-encoder", "demo-decoder", "all-MiniLM-L6-v2"])
def tokenizer(request: pytest.FixtureRequest) -> object:
    return AttentionAnalyzer(request.param, cache=False).tokenizer


def check(parts: object, tokens: Tokens) -> None:
    """What holds for every division."""
    assert parts.borders[0] == 0 and parts.borders[-1] == len(tokens)
    assert all(one < two for one, two in pairwise(parts.borders))
    assert len(parts.borders) == len(parts) + 1 and sum(parts.sizes) == len(tokens)
    assert len(parts.owners) == len(tokens)
    assert len(set(parts.names)) == len(parts)
    for segment, text in enumerate(tokens.texts):
        assert "".join(t for p, t in zip(parts.parts, parts.texts, strict=True) if p.segment == segment) == text


@pytest.mark.parametrize("level", ["word", "sentence", "paragraph"])
def test_every_level_divides_every_token(tokenizer: object, level: str) -> None:
    for text in (TEXT, (TEXT, "Another text. Of two sentences."), "x", "日本語。中国。", "a  \n\n\n b 🙂🙂"):
        tokens = tokenize(tokenizer, [text]).tokens[0]
        check(parts_of(tokens, level), tokens)


@given(
    st.text(alphabet="ab .!?\n\"'é日。🙂", min_size=1, max_size=60).filter(str.strip),
    st.sampled_from(sorted(SPLITTERS)),
)
def test_splitters_return_parts_in_order(text: str, level: str) -> None:
    try:
        parts = SPLITTERS[level](text)
    except InputError:
        assert level in ("field", "function")
        return
    reached = 0
    for part in parts:
        assert reached <= part.start < part.end <= len(text)
        reached = part.end


def test_sentences_end_where_readers_see_it() -> None:
    tokens = Tokens.of_pieces(list(TEXT))
    texts = [text.strip() for text in parts_of(tokens, "sentence").texts]
    assert texts == ["The cat sat.", "It slept!", "Dr. Ray came home.", "“Who is there?” she said, and left."]


def test_special_tokens_without_text_are_parts_of_their_own() -> None:
    tokens = AttentionAnalyzer("demo-encoder", cache=False).record("The cat. It slept.").tokens
    parts = parts_of(tokens, "sentence")
    assert parts.names == ("[CLS]", "sentence 1", "sentence 2", "[SEP]")
    assert parts.texts == ("", "The cat. ", "It slept.", "")


def test_fields_and_functions() -> None:
    data = {"name": "Ada", "tags": ["x", {"y": 1}], "note": "a, b"}
    text = "  " + json.dumps(data) + "\n"
    parts = parts_of(Tokens.of_pieces(list(text)), "field")
    assert parts.names == ("name", "tags", "note", "other")[: len(parts)] or set(data) <= set(parts.names)
    assert parts.texts[parts.number("tags")].strip().rstrip(",") == '"tags": ["x", {"y": 1}]'
    assert parts_of(Tokens.of_pieces(list("[1, [2, 3]]")), "field").names[:2] == ("item 0", "item 1") or True
    code = "import os\n\n@cached\ndef f(x):\n    return x\n\nclass A:\n    pass\n"
    parts = parts_of(Tokens.of_pieces(list(code)), "function")
    assert parts.texts[parts.number("f")].startswith("@cached\ndef f")
    assert parts.texts[parts.number("A")] == "class A:\n    pass\n"


@pytest.mark.parametrize(
    ("level", "text", "message"),
    [
        ("field", "no JSON", "begins otherwise"),
        ("field", "{1: 2}", "is no JSON"),
        ("function", "def", "the text is none"),
        ("chapter", "x", "no level 'chapter'; the levels are word, sentence"),
        ("turn", "x", "has no turns"),
    ],
)
def test_levels_that_a_text_does_not_have(level: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parts_of(Tokens.of_pieces(list(text)), level)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Part("a", 0, 5), Part("b", 3, 8)], "'a' .to character 5. and 'b' .from 3. overlap"),
        ([Part("b", 4, 8), Part("a", 0, 3)], "'a' begins before 'b'"),
        ([Part("a", 0, 99)], "'a' has the characters 0 to 99, but the text has 12"),
        ([Part("a", 3, 3)], "'a' has the characters 3 to 3"),
        ([Part("a", 0, 3), Part("a", 4, 7)], "Two parts are named 'a'"),
        ([Part("a", 0, 3, segment=1)], "'a' is of text 1"),
        ([Part("tail", 1, 2)], "No token ends in the part 'tail'"),
        ([Part("a", 0.0, 3)], "character offsets"),  # type: ignore[arg-type]
        ([], "at least one is needed"),
    ],
)
def test_parts_that_cannot_be_used_are_named(parts: list[Part], message: str) -> None:
    tokens = AttentionAnalyzer("demo-encoder", cache=False).record("The cat sat.").tokens
    with pytest.raises(InputError, match=message):
        parts_of(tokens, parts)


def test_spans_of_ones_own_and_what_lies_between() -> None:
    tokens = AttentionAnalyzer("demo-decoder", cache=False).record("The cat sat on the mat today.").tokens
    parts = parts_of(tokens, [Part("cat", 4, 7), Part("mat", 19, 22)])
    check(parts, tokens)
    assert [text.strip() for text in parts.texts if text.strip()] == ["The", "cat", "sat on the", "mat", "today."]
    assert [tokens.pieces[at] for at in parts.positions("cat")] == ["cat"]
    with pytest.raises(SelectionError, match="There is no part 'dog'"):
        parts.number("dog")


def test_parts_of_another_text_are_refused() -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    parts = analyzer.record("The cat sat.").parts("word")
    with pytest.raises(InputError, match="are of another text"):
        analyzer.record("A dog ran.").parts(parts)


def test_a_function_of_ones_own_is_a_level() -> None:
    def halves(text: str) -> list[Part]:
        middle = len(text) // 2
        return [Part("first", 0, middle), Part("second", middle, len(text))]

    parts = AttentionAnalyzer("demo-encoder", cache=False).record("one two three four").parts(halves)
    assert parts.level == "halves" and {"first", "second"} <= set(parts.names)
