"""Everyday words are one piece, and every text keeps its characters in the offsets."""

from __future__ import annotations

PANGRAM = "The quick brown fox jumps over the lazy dog."


def test_encoder_keeps_the_pangram_whole(encoder) -> None:
    _, tokenizer = encoder
    assert tokenizer.tokenize(PANGRAM) == PANGRAM.lower().replace(".", " .").split()


def test_decoder_keeps_the_pangram_whole_with_its_capital(decoder) -> None:
    _, tokenizer = decoder
    pieces = [piece.lstrip("Ġ") for piece in tokenizer.tokenize(PANGRAM)]
    assert pieces == PANGRAM.replace(".", " .").split()


def test_everyday_sentences_are_nearly_all_whole_words(encoder, decoder, everyday) -> None:
    for _, tokenizer in (encoder, decoder):
        words = [word for text in everyday for word in text.replace(",", "").replace(".", "").split()]
        whole = [len(tokenizer.tokenize(word)) == 1 for word in words]
        assert sum(whole) / len(whole) > 0.98


def test_offsets_point_into_the_text_as_given(encoder, decoder) -> None:
    text = "“It’s  late,”\n\nsaid Tom."
    for _, tokenizer in (encoder, decoder):
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        covered = {place for start, end in encoded["offset_mapping"] for place in range(start, end)}
        assert {i for i, character in enumerate(text) if not character.isspace()} <= covered


def test_curly_and_straight_quotes_are_the_same_to_the_models(encoder, decoder) -> None:
    for _, tokenizer in (encoder, decoder):
        assert tokenizer("“It’s late”")["input_ids"] == tokenizer('"It\'s late"')["input_ids"]


def test_decoder_writes_any_text_back(decoder) -> None:
    _, tokenizer = decoder
    text = "Ærø 東京 🙂 x=42"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip() == text


def test_special_tokens_open_and_close_as_their_families_do(encoder, decoder, translator) -> None:
    encoded = [
        tokenizer.convert_ids_to_tokens(tokenizer("may")["input_ids"])
        for _, tokenizer in (encoder, decoder, translator)
    ]
    assert encoded == [["[CLS]", "may", "[SEP]"], ["<s>", "Ġmay"], ["may", "</s>"]]
