"""Targets of encoder–decoders: their words, their length, and the rows that the decoder has."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GPT2Config,
    GPT2LMHeadModel,
    LEDConfig,
    LEDForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError, ModelError, TooLongError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import generate, record_inputs, record_texts

WORDS = "<pad> <s> </s> <unk> the a cat dog sat on mat ran".split()
SHARED = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "eos_token_id": 2,
}


def tokenizer(template: str = "$A </s>") -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def of_family(family: str) -> LoadedModel:
    torch.manual_seed(0)
    model = {
        "pegasus": lambda: PegasusForConditionalGeneration(PegasusConfig(**SHARED, decoder_start_token_id=0)),
        "marian": lambda: MarianMTModel(
            MarianConfig(**SHARED, decoder_start_token_id=0, decoder_vocab_size=len(WORDS))
        ),
        "m2m": lambda: M2M100ForConditionalGeneration(M2M100Config(**SHARED, decoder_start_token_id=2)),
        "mbart": lambda: MBartForConditionalGeneration(MBartConfig(**SHARED)),
        "t5": lambda: T5ForConditionalGeneration(
            T5Config(d_model=16, d_kv=8, d_ff=8, num_layers=1, num_heads=2, vocab_size=len(WORDS),
                     pad_token_id=0, eos_token_id=2, decoder_start_token_id=0)
        ),
    }[family]()  # fmt: skip
    return LoadedModel(model.eval(), tokenizer(), family)


def two_berts(*, start: int | None) -> LoadedModel:
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": len(WORDS),
    }
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        BertConfig(**sizes, max_position_embeddings=32), BertConfig(**sizes, max_position_embeddings=16)
    )
    torch.manual_seed(0)
    model = EncoderDecoderModel(config=config).eval()
    model.config.decoder_start_token_id, model.config.pad_token_id, model.config.eos_token_id = start, 0, 2
    return LoadedModel(model, tokenizer("<s> $A </s>"), "two BERTs")


@pytest.mark.parametrize("family", ["pegasus", "marian", "m2m", "mbart", "t5"])
def test_the_decoder_reads_the_librarys_shift_and_no_row_follows_the_end(family: str) -> None:
    loaded = of_family(family)
    (record,) = record_texts(loaded, [("the cat", "a dog ran")])
    labels = loaded.tokenizer(text_target="a dog ran", return_tensors="pt")["input_ids"]
    shift = getattr(loaded.model, "prepare_decoder_input_ids_from_labels", None)  # M2M100 shifts inside its forward
    shifted = [2, *labels[0, :-1].tolist()] if shift is None else shift(labels)[0].tolist()
    assert list(record.target_tokens.ids) == shifted
    assert record.target_tokens.pieces[1:] == ("a", "dog", "ran")


@pytest.mark.parametrize("family", ["pegasus", "m2m", "mbart"])
def test_a_forced_first_token_is_in_its_place(family: str) -> None:
    record = generate(of_family(family), "the cat", max_new_tokens=3, forced_bos_token_id=9)
    assert record.target_tokens.pieces[1] == "on"


def test_unknown_words_of_a_target_keep_their_text() -> None:
    (record,) = record_texts(of_family("mbart"), [("the zebra sat", "a giraffe ran on zoo")])
    assert record.tokens.pieces[:3] == ("the", "zebra", "sat")
    assert record.target_tokens.pieces[1:] == ("a", "giraffe", "ran", "on", "zoo")
    assert record.target_tokens.word_texts == ("a", "giraffe", "ran", "on", "zoo")
    assert record.target_tokens.is_special == (True, *[False] * 5)


def test_two_berts_read_a_target_without_a_row_after_its_end() -> None:
    loaded = two_berts(start=1)
    (record,) = record_texts(loaded, [("the cat", "a dog")])
    assert record.target_tokens.pieces == ("<s>", "<s>", "a", "dog")
    assert (loaded.max_length, loaded.max_target_length) == (32, 16)
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        record_texts(two_berts(start=None), [("the cat", "a dog")])


@pytest.mark.parametrize("make", [lambda: of_family("mbart"), lambda: two_berts(start=1)])
def test_a_target_beyond_the_positions_is_refused_or_cut(make) -> None:
    loaded = make()
    limit = loaded.max_target_length
    with pytest.raises(TooLongError, match=rf"target has \d+ tokens.*positions for {limit}"):
        record_texts(loaded, [("the cat", "a " * 40)])
    (cut,) = record_texts(loaded, [("the cat", "a " * 40)], truncate=True)
    assert len(cut.target_tokens) == limit
    (written,) = record_texts(loaded, ["the cat"])
    assert 1 <= len(written.target_tokens) <= limit
    with pytest.raises(TooLongError, match="lower max_new_tokens"):
        generate(loaded, "the cat", max_new_tokens=limit)


def test_a_target_must_be_a_text() -> None:
    with pytest.raises(InputError, match="must be a str"):
        record_texts(of_family("mbart"), [("the cat", 3)])
    with pytest.raises(InputError, match="empty"):
        record_texts(of_family("mbart"), [("the cat", " ")])


def test_limits_have_many_names_and_count_where_positions_are_in_a_table() -> None:
    gpt2 = LoadedModel(
        GPT2LMHeadModel(GPT2Config(n_positions=24, n_embd=8, n_layer=1, n_head=1, vocab_size=len(WORDS)))
    )
    assert gpt2.max_length == 24
    led = LEDForConditionalGeneration(
        LEDConfig(
            **{name: value for name, value in SHARED.items() if name != "max_position_embeddings"},
            max_encoder_position_embeddings=48,
            max_decoder_position_embeddings=20,
            attention_window=4,
        )
    )
    loaded = LoadedModel(led, tokenizer(), "led")
    assert (loaded.max_length, loaded.max_target_length) == (48, 20)
    relative = of_family("t5")
    relative.model.config.n_positions = 512  # a size of T5's training, not of a table
    assert relative.max_length is None


def test_ids_beyond_the_decoders_own_embedding_are_refused() -> None:
    loaded = of_family("mbart")
    with pytest.raises(InputError, match=r"id 99 lies outside the model's decoder's embedding"):
        record_inputs(loaded, {"input_ids": torch.tensor([[4]]), "decoder_input_ids": torch.tensor([[2, 99]])})


def test_a_text_that_memory_cannot_hold_is_refused_in_one_sentence() -> None:
    analyzer = AttentionAnalyzer.of(of_family("t5"), cache=False)
    wide = analyzer.model.encoder.block[0].layer[0].SelfAttention

    def without_memory(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3 bytes.")

    hook = wide.register_forward_pre_hook(without_memory)
    with pytest.raises(TooLongError, match="memory does not suffice"):
        analyzer.record(("the cat", "a dog"))
    hook.remove()
