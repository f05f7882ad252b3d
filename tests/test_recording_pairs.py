"""Pairs of texts, as cross-encoders and classifiers of inferences read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    MBartConfig,
    MBartForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel

WORDS = "<pad> <s> </s> <unk> the a cat dog sat on mat ran".split()
PAIR = ("the cat sat", "a dog ran on the mat")
WRITTEN = ("<s>", "the", "cat", "sat", "</s>", "</s>", "a", "dog", "ran", "on", "the", "mat", "</s>")


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", sep_token="</s>",
        cls_token="<s>", unk_token="<unk>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def analyzer(family: str) -> AttentionAnalyzer:
    torch.manual_seed(0)
    shared = {"vocab_size": len(WORDS), "max_position_embeddings": 40, "pad_token_id": 0, "eos_token_id": 2}
    two = {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "decoder_start_token_id": 2,
    }  # fmt: skip
    one = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = {
        "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**shared, **one)),
        "bart": lambda: BartForSequenceClassification(BartConfig(**shared, **two)),
        "mbart": lambda: MBartForSequenceClassification(MBartConfig(**shared, **two)),
    }[family]()
    return AttentionAnalyzer.of(LoadedModel(model.eval(), tokenizer(), family), cache=False)


@pytest.mark.parametrize("family", ["roberta", "bart", "mbart"])
def test_a_pair_is_read_as_the_tokenizer_joins_it(family: str) -> None:
    made = analyzer(family)
    record = made.record(PAIR)
    assert record.tokens.pieces == WRITTEN
    assert record.tokens.texts == PAIR
    assert [record.tokens.segments[at] for at in (0, 1, 3, 6, 11)] == [0, 0, 0, 1, 1]
    several = made.record([PAIR, (PAIR[1], PAIR[0])])
    assert (several[0].heads()["entropy"] - record.heads()["entropy"]).abs().max() < 1e-5
    with torch.no_grad():
        outputs = _eager(made)(**made.tokenizer(*PAIR, return_tensors="pt"), output_attentions=True)
    names = {"encoder": "attentions"} if family == "roberta" else {
        "encoder": "encoder_attentions", "decoder": "decoder_attentions",
    }  # fmt: skip
    selves = [entry for entry in record.entries if entry.site.kind == "self"]
    for entry, name in zip(selves, names.values(), strict=True):
        assert torch.allclose(entry.weights[:, :, :], getattr(outputs, name)[0][0], atol=1e-5)


def _eager(made: AttentionAnalyzer) -> torch.nn.Module:
    made.model.set_attn_implementation("eager")
    return made.model


@pytest.mark.parametrize("text", [3, None, ("the cat", 3), ("the", "cat", "sat"), b"the cat", [3], [None]])
def test_what_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(InputError):
        analyzer("roberta").record(text)


@pytest.mark.parametrize("family", ["roberta", "bart"])
def test_a_scan_counts_both_texts_of_a_pair(family: str, tmp_path: Path) -> None:
    """What is too long is left out, and what has room together runs together."""
    rows = [PAIR, ("the cat", "mat " * 60), (PAIR[1], PAIR[0])]
    corpus = analyzer(family).scan(rows, tmp_path / "store", progress=False)
    problems = corpus.problems()
    assert list(problems["row"]) == [1]
    assert "has 66 tokens" in problems["reason"][0]
    assert corpus.manifest.texts == 2
    assert corpus.manifest.tokens == 2 * len(WRITTEN)
