"""Padding is never read: classifiers that look for it, and models and tokenizers that know none."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution.context import ask
from attention_analyzer.attribution.deletion import Deleter
from attention_analyzer.inputs import prepare
from attention_analyzer.models.loading import from_config

WORDS = "<filler> <unk> </s> the a cat dog sat on mat".split()
TEXTS = ["the cat sat on the mat", "a dog", "the dog sat on a cat", "cat"]


def classifier(*, model_pad: int | None, tokenizer_pad: str | None) -> AttentionAnalyzer:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", eos_token="</s>", pad_token=tokenizer_pad
    )
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=2, n_head=2, num_labels=3, pad_token_id=model_pad
    )
    torch.manual_seed(0)
    loaded = from_config(config, tokenizer, model_class=GPT2ForSequenceClassification)
    return AttentionAnalyzer.of(loaded, cache=False)


def logits(analyzer: AttentionAnalyzer, text: str) -> torch.Tensor:
    with torch.no_grad():
        return analyzer.model(**analyzer.tokenizer(text, return_tensors="pt")).logits[0]


@pytest.mark.parametrize(("model_pad", "tokenizer_pad"), [(None, None), (None, "</s>"), (2, None), (0, "</s>")])
def test_texts_together_are_the_texts_alone(model_pad: int | None, tokenizer_pad: str | None) -> None:
    analyzer = classifier(model_pad=model_pad, tokenizer_pad=tokenizer_pad)
    alone = [analyzer.record(text) for text in TEXTS]
    together = analyzer.record(TEXTS)
    for one, other in zip(alone, together, strict=True):
        assert other.tokens == one.tokens
        assert (one.heads()["entropy"] - other.heads()["entropy"]).abs().max() < 1e-5
    table = analyzer.heads(TEXTS)
    assert abs(table.loc[table["text"] == 1, "entropy"].mean() - alone[1].heads()["entropy"].mean()) < 1e-5
    size = analyzer.loaded.at_once(len(TEXTS))
    assert size == (1 if model_pad is None else len(TEXTS))
    prepared = prepare(analyzer.loaded, TEXTS[:size])
    with torch.no_grad():
        found = analyzer.model(**prepared.inputs).logits
    for text, row in zip(TEXTS, found, strict=False):
        assert torch.allclose(row, logits(analyzer, text), atol=1e-6)


@pytest.mark.parametrize("model_pad", [None, 0])
def test_analyses_of_many_texts_and_variants_run(model_pad: int | None, tmp_path) -> None:
    analyzer = classifier(model_pad=model_pad, tokenizer_pad=None)
    together = analyzer.head_importance(TEXTS).to_frame()
    singly = analyzer.head_importance(TEXTS, batch_size=1).to_frame()
    assert (together.select_dtypes("number") - singly.select_dtypes("number")).abs().max().max() < 1e-4
    corpus = analyzer.scan(TEXTS, store=tmp_path / "store")
    assert corpus.problems().empty
    assert len(corpus.heads("entropy")) >= len(analyzer.record(TEXTS[0]).heads())


@pytest.mark.parametrize("model_pad", [None, 0])
def test_shortened_variants_are_measured_as_texts_of_their_own(model_pad: int | None) -> None:
    analyzer = classifier(model_pad=model_pad, tokenizer_pad="</s>")
    words = TEXTS[0].split()
    kept = torch.rand(5, len(words), generator=torch.Generator().manual_seed(1)) > 0.5
    kept[:, 0] = True
    kept[1] = True
    question = ask(analyzer.loaded, TEXTS[0], "class=1")
    found = Deleter(question, "remove").measures(kept)
    for row, measure in zip(kept, found, strict=True):
        text = " ".join(word for word, keep in zip(words, row, strict=True) if keep)
        assert abs(logits(analyzer, text).softmax(-1)[1] - measure) < 1e-5


def test_gradients_through_single_variants_add_up() -> None:
    analyzer = classifier(model_pad=None, tokenizer_pad=None)
    importance = analyzer.token_importance(TEXTS[0], "integrated_gradients", target="class=1")
    assert len(importance.tokens) == 6
