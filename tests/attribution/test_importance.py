"""What a reader gets of any method: pieces or words, special tokens dealt with, shares of one."""

from __future__ import annotations

import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError, SelectionError

SENTENCE = "Zyx unbelievably quick foxes jumped."


@pytest.fixture(scope="module")
def encoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-encoder", cache=False)


def test_the_call_of_the_specification(encoder: AttentionAnalyzer) -> None:
    importance = encoder.get_token_importance(SENTENCE)
    assert [token for token, _ in importance] == list(encoder.record(SENTENCE).tokens.pieces)
    assert all(type(score) is float and score >= 0 for _, score in importance)
    assert sum(score for _, score in importance) == pytest.approx(1, abs=1e-9)


def test_received_is_the_mean_of_all_columns(encoder: AttentionAnalyzer) -> None:
    record = encoder.record(SENTENCE)
    expected = sum(entry.weights.full().double().mean((0, 1)) for entry in record.entries) / len(record)
    found = encoder.token_importance(SENTENCE)
    assert found.raw == pytest.approx(expected.tolist(), abs=1e-6)


def test_words_are_sums_of_their_pieces(encoder: AttentionAnalyzer) -> None:
    pieces, words = (encoder.token_importance(SENTENCE, unit=unit) for unit in ("token", "word"))
    tokens = encoder.record(SENTENCE).tokens
    assert len(pieces) == len(tokens) > len(words)
    assert words.tokens == ("[CLS]", "Zyx", "unbelievably", "quick", "foxes", "jumped", ".", "[SEP]")
    for number, name in enumerate(tokens.word_texts):
        parts = [score for score, word in zip(pieces.scores, tokens.words, strict=True) if word == number]
        assert dict(zip(words.tokens, words.scores, strict=True))[name] == pytest.approx(sum(parts))


def test_special_tokens_are_kept_apart_or_left_out_and_it_is_said(encoder: AttentionAnalyzer) -> None:
    kept, apart, left_out = (encoder.token_importance(SENTENCE, special=way) for way in ("keep", "apart", "exclude"))
    share = kept.scores[0] + kept.scores[-1]
    assert (kept.tokens[0], kept.tokens[-1]) == ("[CLS]", "[SEP]")
    assert apart.tokens == left_out.tokens == kept.tokens[1:-1]
    assert apart.scores == pytest.approx([score / (1 - share) for score in kept.scores[1:-1]])
    assert apart.special_tokens == (("[CLS]", pytest.approx(kept.scores[0])), ("[SEP]", pytest.approx(kept.scores[-1])))
    assert left_out.special_tokens == ()
    for found in (kept, apart, left_out):
        assert found.special_share == pytest.approx(share)
        assert f"{share:.0%}" in found.special_handling
    assert sum(apart.scores) == sum(left_out.scores) == pytest.approx(1)


def test_the_table_has_a_row_for_every_token(encoder: AttentionAnalyzer) -> None:
    found = encoder.token_importance(SENTENCE)
    assert list(found.table.columns) == ["position", "token", "score", "raw"]
    assert list(found.table["token"]) == list(found.tokens)


@pytest.mark.parametrize("options", [{"unit": "line"}, {"special": "hide"}])
def test_an_option_that_is_not_there_is_refused(encoder: AttentionAnalyzer, options: dict) -> None:
    with pytest.raises(InputError, match="must be one of"):
        encoder.token_importance(SENTENCE, **options)


def test_a_method_that_is_not_there_is_refused_with_those_that_are(encoder: AttentionAnalyzer) -> None:
    with pytest.raises(SelectionError, match="received"):
        encoder.token_importance(SENTENCE, method="magic")
