"""Tokens without offsets, of unknown words and of cut characters keep the characters they stand for."""

from __future__ import annotations

import unicodedata

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, CanineTokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast

from attention_analyzer.text.tokenization import tokenize, tokens_of_ids
from attention_analyzer.text.tokens import Tokens

VOCABULARY = "[PAD] [UNK] [CLS] [SEP] the cafe ##s cat sat . ate".split()


class WordsInPython(PreTrainedTokenizer):
    """A tokenizer without offsets that lowers case, drops accents and cuts a final s off."""

    def __init__(self, **options) -> None:
        self.numbers = {word: number for number, word in enumerate(VOCABULARY)}
        super().__init__(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **options)

    @property
    def vocab_size(self) -> int:
        return len(self.numbers)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.numbers)

    def _tokenize(self, text: str) -> list[str]:
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
        found: list[str] = []
        for word in plain.split():
            cut = word.endswith("s") and word[:-1] in self.numbers
            found += [word[:-1], "##s"] if cut else [word]
        return found

    def _convert_token_to_id(self, token: str) -> int:
        return self.numbers.get(token, 1)

    def _convert_id_to_token(self, index: int) -> str:
        return VOCABULARY[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return " ".join(tokens).replace(" ##", "")

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [2, *token_ids_0, 3, *([] if token_ids_1 is None else [*token_ids_1, 3])]

    def get_special_tokens_mask(self, token_ids_0, token_ids_1=None, already_has_special_tokens=False):
        second = [] if token_ids_1 is None else [*[0] * len(token_ids_1), 1]
        return [1, *[0] * len(token_ids_0), 1, *second]


def byte_level(*special: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in special])
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def belonging(tokens: Tokens) -> list[str | None]:
    return [None if word is None else tokens.word_texts[word] for word in tokens.words]


def test_unknown_and_normalized_words_of_a_tokenizer_without_offsets() -> None:
    tokens = tokenize(WordsInPython(), ["the Cafés 🦖 ate thequickfox The CAT one two"]).tokens[0]
    shown = ["the", "Café", "s", "🦖", "ate", "thequickfox", "The", "CAT", "one", "two"]
    assert tokens.pieces == ("[CLS]", *shown, "[SEP]")
    assert tokens.is_special == (True, *[False] * len(shown), True)
    assert belonging(tokens)[2:4] == ["Cafés", "Cafés"]
    assert belonging(tokens)[4] == "🦖"


def test_a_pair_without_segment_numbers_has_two_segments() -> None:
    tokens = tokenize(WordsInPython(), [("the cafés", "The dog ate")]).tokens[0]
    assert tokens.segments == (0, 0, 0, 0, 0, 1, 1, 1, 1)
    assert tokens.pieces == ("[CLS]", "the", "café", "s", "[SEP]", "The", "dog", "ate", "[SEP]")


def test_a_cut_text_does_not_give_its_rest_to_the_last_unknown_word() -> None:
    tokens = tokenize(WordsInPython(), ["the dog ate the fish today"], max_length=4, truncate=True).tokens[0]
    assert tokens.pieces == ("[CLS]", "the", "dog", "[SEP]")


@pytest.mark.parametrize(
    ("tokenizer", "each", "before", "after"),
    [(ByT5Tokenizer(), 4, (), ("</s>",)), (CanineTokenizer(), 1, ("[CLS]",), ("[SEP]",)), (byte_level(), 4, (), ())],
    ids=["bytes", "characters", "byte level"],
)
def test_a_character_is_shown_whole_by_each_of_its_tokens(tokenizer, each, before, after) -> None:
    tokens = tokenize(tokenizer, ["ok 😀"]).tokens[0]
    assert tokens.pieces == (*before, "o", "k", "␣", *["😀"] * each, *after)
    own = slice(len(before), len(tokens) - len(after))
    assert tokens.spans[own] == ((0, 1), (1, 2), (2, 3), *[(3, 4)] * each)
    assert belonging(tokens)[own] == ["ok", "ok", None, *["😀"] * each]
    assert tokens_of_ids(tokenizer, tokens.ids).pieces == tokens.pieces


def test_a_generated_text_may_end_within_a_character() -> None:
    tokenizer = byte_level()
    ids = tokenizer("é 😀")["input_ids"][:-2]
    assert tokens_of_ids(tokenizer, ids).pieces == ("é", "é", "␣", "\ufffd", "\ufffd")


def test_added_special_tokens_are_whole_and_special() -> None:
    tokenizer = byte_level("<|im_start|>", "<|im_end|>")
    tokens = tokenize(tokenizer, ["<|im_start|>né<|im_end|>"]).tokens[0]
    assert tokens.pieces == ("<|im_start|>", "n", "é", "é", "<|im_end|>")
    assert tokens.is_special == (True, False, False, False, True)
    again = tokens_of_ids(tokenizer, tokens.ids)
    assert (again.pieces, again.is_special, again.text) == (tokens.pieces, tokens.is_special, "né")


@pytest.mark.parametrize("unknown_is_declared", [True, False])
def test_an_unknown_word_is_text_also_where_its_token_has_another_role(unknown_is_declared: bool) -> None:
    inner = Tokenizer(models.WordLevel({"<eos>": 0, "the": 1, "cat": 2}, unk_token="<eos>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"unk_token": "<eos>"} if unknown_is_declared else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", **named)
    tokens = tokenize(tokenizer, ["the 🦖 cat <eos>"]).tokens[0]
    assert tokens.pieces == ("the", "🦖", "cat", "<eos>")
    assert tokens.is_special == (False, False, False, True)


def test_the_space_in_front_of_a_text_does_not_show_its_first_letter() -> None:
    pieces = [("<unk>", 0.0), *((letter, -1.0) for letter in "▁not")]
    inner = Tokenizer(models.Unigram(pieces, unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    tokens = tokenize(PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>"), ["not é"]).tokens[0]
    assert tokens.pieces == ("␣", "n", "o", "t", "␣", "é")
    assert tokens.spans[0] is None
    assert not any(tokens.is_special)
