"""Tokens as a person reads them, with tokenizers of every kind, built here so that nothing is downloaded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from attention_analyzer.errors import InputError, TooLongError
from attention_analyzer.models.loading import load
from attention_analyzer.text.tokenization import tokenize, tokens_of_ids
from attention_analyzer.text.tokens import Tokens

MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def wordpiece():
    return load(MINILM).tokenizer


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    return byte_level_tokenizer(trim_offsets=True)


def byte_level_tokenizer(*, trim_offsets: bool) -> PreTrainedTokenizerFast:
    """Bytes as in GPT-2, without merges: every multi-byte character is several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def slow() -> ByT5Tokenizer:
    """A tokenizer in Python, which gives no offsets."""
    return ByT5Tokenizer()


def test_pieces_words_and_spans(wordpiece) -> None:
    text = "The tokenizer's output, unbelievable!"
    tokens = tokenize(wordpiece, [text]).tokens[0]
    assert tokens.pieces[0] == "[CLS]"
    assert tokens.pieces[-1] == "[SEP]"
    assert tokens.is_special == (True, *[False] * (len(tokens) - 2), True)
    assert tokens.is_separator[-1]
    assert not tokens.is_separator[0]
    for piece, span in zip(tokens.pieces, tokens.spans, strict=True):
        assert span is None or text[slice(*span)] == piece
    belongs = [tokens.word_texts[word] if word is not None else None for word in tokens.words]
    assert belongs[0] is None
    assert "unbelievable" in belongs
    assert "".join(p for p, w in zip(tokens.pieces, belongs, strict=True) if w == "unbelievable") == "unbelievable"
    assert [p for p, mark in zip(tokens.pieces, tokens.is_punctuation, strict=True) if mark] == ["'", ",", "!"]


@pytest.mark.parametrize("trimmed", [True, False])
def test_white_space_is_shown_by_marks_and_never_by_the_letters_of_a_vocabulary(trimmed: bool) -> None:
    tokenizer = byte_level_tokenizer(trim_offsets=trimmed)
    tokens = tokenize(tokenizer, ["a \n\tb"]).tokens[0]
    assert tokens.pieces == ("a", "␣", "⏎", "⇥", "b")
    assert tokens_of_ids(tokenizer, tokens.ids).pieces == tokens.pieces


def test_pairs_have_two_segments(wordpiece) -> None:
    tokens = tokenize(wordpiece, [("The cat.", "A dog.")]).tokens[0]
    assert tokens.texts == ("The cat.", "A dog.")
    shown = [(piece, segment) for piece, segment in zip(tokens.pieces, tokens.segments, strict=True) if piece.isalpha()]
    assert shown == [("The", 0), ("cat", 0), ("A", 1), ("dog", 1)]
    assert tokens.text == "The cat. A dog."


@pytest.mark.parametrize(
    "text", ["naïve café", "مرحبا بالعالم", "日本語です", "family 👨‍👩‍👧 emoji 😀", "tab\there\nline", "a\u0000b"]
)
def test_byte_level_pieces_are_the_texts_own_characters(byte_level, text: str) -> None:
    tokens = tokenize(byte_level, [text]).tokens[0]
    assert len(tokens) == len(text.encode())
    for piece, span in zip(tokens.pieces, tokens.spans, strict=True):
        assert span is None or text[slice(*span)].strip() in {piece, ""}
    # Every character is covered; a token that is nothing but space shows none.
    covered = {at for span in tokens.spans if span for at in range(*span)}
    assert covered >= {at for at, letter in enumerate(text) if letter != " "}


@pytest.mark.parametrize("kind", ["wordpiece", "byte_level", "slow"])
def test_a_batch_is_read_as_its_texts_are_one_by_one(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    texts = ["One text.", "Another, longer text; with more words.", "三つ目 😀"]
    pairs = [] if kind == "byte_level" else [("A first", "and a second"), ("Question?", "An answer of some words.")]
    for batch in filter(None, (texts, pairs, [*texts, *pairs])):
        together = tokenize(tokenizer, batch)
        for row, text in enumerate(batch):
            alone = tokenize(tokenizer, [text])
            assert together.tokens[row] == alone.tokens[0]
            assert (
                together.inputs["input_ids"][row, together.runs[row]].tolist() == alone.inputs["input_ids"][0].tolist()
            )


def test_tokenizer_without_offsets(slow) -> None:
    tokens = tokenize(slow, ["plain text"]).tokens[0]
    assert tokens.pieces[:-1] == tuple("plain␣text")
    letters = [index for index, piece in enumerate(tokens.pieces) if piece.isalpha() and not tokens.is_special[index]]
    assert all("plain text"[slice(*tokens.spans[index])] == tokens.pieces[index] for index in letters)


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=40).filter(lambda text: text.strip()))
def test_any_text_gives_consistent_tokens_or_a_clear_refusal(text: str) -> None:
    tokenizer = load_once()
    try:
        tokens = tokenize(tokenizer, [text]).tokens[0]
    except InputError as error:
        assert "surrogate" in str(error)  # noqa: PT017 (either outcome is right)
        return
    assert len(tokens.pieces) == len(tokens.ids) == len(tokens.spans) == len(tokens.words)
    assert all(span is None or 0 <= span[0] < span[1] <= len(text) for span in tokens.spans)
    assert all(word is None or 0 <= word < len(tokens.word_texts) for word in tokens.words)
    assert Tokens.from_dict(tokens.to_dict()) == tokens


_loaded: list[object] = []


def load_once():
    if not _loaded:
        _loaded.append(load(MINILM).tokenizer)
    return _loaded[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), ("  \n", "empty"), ("bad \ud800 text", "surrogate"), (7, "must be a str"), (None, "must be a str")],
)
def test_what_no_tokenizer_can_take(wordpiece, text, says: str) -> None:
    with pytest.raises(InputError, match=says):
        tokenize(wordpiece, [text])


def test_too_long_is_refused_or_cut(wordpiece) -> None:
    text = "word " * 50
    with pytest.raises(TooLongError, match=r"52 tokens.*positions for 16.*truncate=True"):
        tokenize(wordpiece, [text], max_length=16)
    assert len(tokenize(wordpiece, [text], max_length=16, truncate=True).tokens[0]) == 16


def test_batches_pad_on_the_right(wordpiece) -> None:
    wordpiece.padding_side = "left"
    try:
        batch = tokenize(wordpiece, ["one", "one two three"])
    finally:
        wordpiece.padding_side = "right"
    assert batch.runs[0].start == 0
    assert batch.valid.tolist()[0] == [True] * 3 + [False] * 2
    assert batch.inputs["attention_mask"].bool().equal(batch.valid)


def test_tokens_of_written_ids(wordpiece, byte_level) -> None:
    for tokenizer, text in ((wordpiece, "the cat sat"), (byte_level, "über 😀")):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = tokens_of_ids(tokenizer, ids)
        assert tokens.ids == tuple(ids)
        assert tokens.text == text
        shown = {text[slice(*span)] for span in tokens.spans if span is not None}
        assert {"the", "cat", "sat"} <= shown or {"ü", "b", "e", "r", "😀"} <= shown
