"""Texts in, records or streamed statistics out, for encoders, decoders, encoder–decoders and inputs without text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperModel,
)

from attention_analyzer.errors import InputError, ModelError, TooLongError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, head_table, needs_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config, load
from attention_analyzer.recording import generate, record_inputs, record_texts, stream_texts

WORDS = "<pad> <s> </s> the a cat dog sat on mat ran to big red house . ,".split()
TEXTS = ["the cat sat on the mat .", "a dog", "the big red dog ran to the house , the cat sat ."]


def tokenizer(closing: bool = True) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "<s> $A </s>" if closing else "<s> $A"
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def llama() -> LoadedModel:
    config = LlamaConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=20,
        vocab_size=len(WORDS),
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return from_config(config, tokenizer(closing=False), model_class=LlamaForCausalLM)


def bart() -> LoadedModel:
    config = BartConfig(
        d_model=12,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=3,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=len(WORDS),
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    return from_config(config, tokenizer(), model_class=BartForConditionalGeneration)


def t5() -> LoadedModel:
    config = T5Config(
        d_model=12,
        d_kv=4,
        d_ff=16,
        num_layers=2,
        num_heads=3,
        vocab_size=len(WORDS),
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    return from_config(config, tokenizer(), model_class=T5ForConditionalGeneration)


@pytest.fixture(params=["llama", "bart", "t5", "minilm"])
def loaded(request) -> LoadedModel:
    return {"llama": llama, "bart": bart, "t5": t5, "minilm": lambda: load("all-MiniLM-L6-v2")}[request.param]()


def test_a_batch_gives_the_records_of_its_texts(loaded: LoadedModel) -> None:
    together = record_texts(loaded, TEXTS)
    for text, record in zip(TEXTS, together, strict=True):
        alone = record_texts(loaded, [text])[0]
        assert record.tokens == alone.tokens
        assert record.sites == alone.sites
        for entry, other in zip(record.entries, alone.entries, strict=True):
            assert entry.weights.shape == (entry.site.heads, len(entry.queries), len(entry.keys))
            torch.testing.assert_close(entry.weights.full(), other.weights.full(), atol=2e-5, rtol=0)


def test_streamed_statistics_are_the_records(loaded: LoadedModel) -> None:
    pairs = [(text, "a red house .") for text in TEXTS] if loaded.architecture == "encoder-decoder" else TEXTS
    tables = [head_table(record) for record in record_texts(loaded, pairs)]
    seen = 0
    for batch in stream_texts(loaded, pairs, needs_of(METRICS), batch_size=2):
        for index in range(len(batch.tokens)):
            rows = {}
            for site, statistics in zip(batch.sites, batch.statistics, strict=True):
                rows[site.name] = evaluate(statistics, METRICS)
            table = tables[seen]
            for metric in METRICS:
                streamed = torch.cat([rows[site.name][metric.name][index] for site in batch.sites]).double().numpy()
                np.testing.assert_allclose(streamed, table[metric.name].to_numpy(), atol=2e-5, rtol=2e-5)
            seen += 1
    assert seen == len(TEXTS)


def test_an_encoder_decoder_shows_source_and_target() -> None:
    record = record_texts(bart(), [("the cat sat .", "a big dog")])[0]
    names = [site.name for site in record.sites]
    assert names[:2] == ["encoder.self.0", "encoder.self.1"]
    assert {"decoder.self.2", "decoder.cross.2"} <= set(names)
    queries, keys = record.tokens_for("decoder.cross.0")
    # The start token, then what the tokenizer makes of the target without its closing token.
    assert queries.pieces == ("</s>", "<s>", "a", "big", "dog")
    assert keys.pieces == ("<s>", "the", "cat", "sat", ".", "</s>")
    assert record.weights(0, kind="cross", stack="decoder").shape == (2, 5, 6)
    upper = record.weights(1, stack="decoder", kind="self").triu(1)
    assert bool((upper == 0).all())


def test_a_source_alone_is_completed_by_the_model_itself() -> None:
    loaded = bart()
    record = record_texts(loaded, ["the cat sat ."])[0]
    ids = loaded.model.generate(
        **loaded.tokenizer("the cat sat .", return_tensors="pt"), do_sample=False, num_beams=1, max_new_tokens=128
    )[0]
    written = ids[:-1] if ids[-1] == 2 and len(ids) > 1 else ids
    assert record.target_tokens.ids == tuple(written.tolist())


@pytest.mark.parametrize("make", [llama, bart, t5])
def test_generation_equals_one_clean_forward(make) -> None:
    loaded = make()
    record = generate(loaded, "the big red dog", max_new_tokens=6)
    stack = "decoder"
    # The written tokens are those of the model's own generation, which has a cache.
    prompt = loaded.tokenizer("the big red dog", return_tensors="pt", return_token_type_ids=False)
    own = loaded.model.generate(**prompt, do_sample=False, num_beams=1, max_new_tokens=6)[0].tolist()
    closed = loaded.architecture == "encoder-decoder" and own[-1] == 2 and len(own) > 1
    assert list(record.target_tokens.ids) == (own[:-1] if closed else own)
    if loaded.architecture == "decoder":
        assert record.tokens.pieces[: record.notes["prompt_tokens"]] == ("<s>", "the", "big", "red", "dog")
        ids = torch.tensor([record.tokens.ids])
        inputs = {"input_ids": ids}
    else:
        ids = torch.tensor([record.target_tokens.ids])
        inputs = {**loaded.tokenizer("the big red dog", return_tensors="pt"), "decoder_input_ids": ids}
        inputs.pop("token_type_ids", None)
    model = loaded.model
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(**inputs, output_attentions=True)
    seen = outputs.attentions if loaded.architecture == "decoder" else outputs.decoder_attentions
    for layer, weights in enumerate(seen):
        torch.testing.assert_close(record.weights(layer, stack=stack, kind="self"), weights[0], atol=1e-5, rtol=0)
    assert len(seen) == sum((site.stack, site.kind) == (stack, "self") for site in record.sites)


def test_a_prompt_is_not_continued_after_its_end() -> None:
    loaded = LoadedModel(llama().model, tokenizer(closing=True), "closing")
    assert "</s>" not in generate(loaded, "the cat", max_new_tokens=2).tokens.pieces[:3]


def test_models_that_cannot_write_say_so() -> None:
    with pytest.raises(ModelError, match="cannot generate text"):
        generate(load("all-MiniLM-L6-v2"), "hello")


def test_generation_beyond_the_positions_is_refused_beforehand() -> None:
    with pytest.raises(TooLongError, match="positions for 64"):
        generate(llama(), "the cat", max_new_tokens=100)


def test_text_beyond_the_positions() -> None:
    loaded = llama()
    with pytest.raises(TooLongError, match="truncate=True"):
        record_texts(loaded, ["the " * 70])
    assert len(record_texts(loaded, ["the " * 70], truncate=True)[0].tokens) == 64


def test_images_show_their_patches() -> None:
    config = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16, image_size=12, patch_size=4
    )
    (record,) = record_inputs(from_config(config, model_class=ViTModel), {"pixel_values": torch.rand(1, 3, 12, 12)})
    assert record.weights(1).shape == (3, 10, 10)
    assert record.sites[0].stack in {"vision", "encoder"}
    assert len(record.tokens) == 10


def test_sound_shows_its_frames() -> None:
    config = WhisperConfig(
        d_model=12,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=3,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=30,
        num_mel_bins=4,
        max_source_positions=8,
        max_target_positions=9,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    loaded = from_config(config, model_class=WhisperModel)
    inputs = {"input_features": torch.rand(1, 4, 16), "decoder_input_ids": torch.tensor([[1, 5, 6]])}
    (record,) = record_inputs(loaded, inputs)
    assert record.weights(0, stack="decoder", kind="cross").shape == (3, 3, 8)


def test_a_batch_of_images_gives_a_record_each() -> None:
    config = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16, image_size=12, patch_size=4
    )
    loaded, pixels = from_config(config, model_class=ViTModel), torch.rand(2, 3, 12, 12)
    for number, record in enumerate(record_inputs(loaded, {"pixel_values": pixels})):
        (alone,) = record_inputs(loaded, {"pixel_values": pixels[number : number + 1]})
        torch.testing.assert_close(record.weights(1), alone.weights(1))


def test_inputs_may_be_lists_arrays_and_caches() -> None:
    """What a processor gives, and what a model was given before."""
    loaded, ids = llama(), [[1, 5, 6, 7, 8]]
    (whole,) = record_inputs(loaded, {"input_ids": np.array(ids), "use_cache": False})
    past = loaded.model(input_ids=torch.tensor(ids)[:, :4], use_cache=True).past_key_values
    (step,) = record_inputs(loaded, {"input_ids": [[8]], "past_key_values": past, "use_cache": True})
    for layer in range(3):
        torch.testing.assert_close(step.weights(layer)[:, 0], whole.weights(layer)[:, -1])


def test_models_and_modes_are_left_as_they_were() -> None:
    loaded = llama()
    loaded.model.train()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    hooks = [module._forward_hooks.copy() for module in loaded.model.modules()]
    record_texts(loaded, TEXTS)
    with pytest.raises(InputError):
        record_texts(loaded, [""])
    assert all(module.training for module in loaded.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert [module._forward_hooks for module in loaded.model.modules()] == hooks


def test_weights_that_are_not_finite_are_an_error() -> None:
    from attention_analyzer.errors import AttentionAnalyzerError

    loaded = llama()
    with torch.no_grad():
        loaded.model.model.layers[1].self_attn.q_proj.weight[0, 0] = float("nan")
    with pytest.raises(AttentionAnalyzerError, match=r"NaN|finite"):
        head_table(record_texts(loaded, TEXTS[:1])[0])


def test_a_module_that_is_no_transformer_is_refused() -> None:
    from attention_analyzer.errors import UnsupportedModelError

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(len(WORDS), 4)

        def forward(self, input_ids, attention_mask=None):
            return self.table(input_ids)

    with pytest.raises(UnsupportedModelError, match="without any attention"):
        record_texts(LoadedModel(Bag(), tokenizer(), "bag"), ["the cat"])


@pytest.mark.parametrize(
    "options",
    [
        {"temprature": 0.7},
        {"do_sample": True, "temperature": 0.0},
        {"num_return_sequences": 2},
        {"max_new_tokens": "3"},
    ],
)
def test_options_that_generate_cannot_use_are_named(options: dict) -> None:
    with pytest.raises(InputError, match=next(name for name in reversed(options))):
        generate(llama(), "the cat", **({"max_new_tokens": 2} | options))


@pytest.mark.parametrize("make", [llama, bart, t5])
@pytest.mark.parametrize("options", [{"num_beams": 4}, {"do_sample": True}])
def test_every_returned_sequence_has_its_record(make, options: dict) -> None:
    loaded = make()
    torch.manual_seed(0)
    records = generate(loaded, "the cat", max_new_tokens=9, num_return_sequences=3, **options)
    assert len(records) == 3
    encoded = loaded.tokenizer("the cat", return_tensors="pt", return_token_type_ids=False)
    torch.manual_seed(0)
    with torch.no_grad():
        rows = loaded.model.generate(
            **encoded, max_new_tokens=9, num_return_sequences=3, **{"num_beams": 1, "do_sample": False} | options
        )
    two_stacks = loaded.architecture == "encoder-decoder"
    for record, row in zip(records, rows.tolist(), strict=True):
        written = row[:1] + [number for number in row[1:] if number != 2] if two_stacks else row
        while written[-1] == 0 and len(written) > 1:
            written.pop()
        assert list((record.target_tokens if two_stacks else record.tokens).ids) == written


def test_given_ids_beyond_positions_or_embedding_are_refused() -> None:
    with pytest.raises(TooLongError, match=r"65 tokens.*positions for 64"):
        record_inputs(llama(), {"input_ids": torch.ones(1, 65, dtype=torch.long)})
    with pytest.raises(TooLongError, match=r"decoder_input_ids has 65 tokens.*positions for 64"):
        record_inputs(
            bart(), {"input_ids": torch.tensor([[1, 3]]), "decoder_input_ids": torch.ones(1, 65, dtype=torch.long)}
        )
    with pytest.raises(InputError, match=rf"id 99 lies outside.*{len(WORDS)} rows"):
        record_inputs(llama(), {"input_ids": torch.tensor([[1, 99]])})


def test_a_target_is_shifted_as_the_library_shifts_labels() -> None:
    loaded = bart()
    (record,) = record_texts(loaded, [("the cat", "a dog ran")])
    labels = loaded.tokenizer(text_target="a dog ran", return_tensors="pt")["input_ids"]
    assert record.target_tokens.ids == tuple(loaded.model.prepare_decoder_input_ids_from_labels(labels)[0].tolist())
