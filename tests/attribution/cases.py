"""Models with random weights as questions, and a model built so that one token alone decides."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertForSequenceClassification,
)

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.target import Target, VocabularyTarget
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.tokens import Tokens
from tests.hooks import small

#: Forms of attention, with a head that predicts tokens.
FORMS = {
    "encoder": AutoModelForMaskedLM,
    "shared layers": AutoModelForMaskedLM,
    "grouped queries": AutoModelForCausalLM,
    "learned positions": AutoModelForCausalLM,
    "sliding window": AutoModelForCausalLM,
    "softcap and mixed windows": AutoModelForCausalLM,
    "sinks": AutoModelForCausalLM,
    "position bias and cross-attention": AutoModelForSeq2SeqLM,
    "cross-attention": AutoModelForSeq2SeqLM,
}
CAUSAL = [form for form, kind in FORMS.items() if kind is AutoModelForCausalLM]
TWO_STACKS = [form for form, kind in FORMS.items() if kind is AutoModelForSeq2SeqLM]


def question(form: str, backend: str = "eager", *, target: Target | None = None, tokens: int = 7) -> Question:
    """A text of random tokens put to a model of one form; by default one entry of the last position's logits."""
    model = small.make(form, backend, build=FORMS[form].from_config)
    model.config.pad_token_id = 0
    inputs: dict[str, Any] = {"input_ids": small.words(1, tokens), "attention_mask": torch.ones(1, tokens).long()}
    written = None
    if form in TWO_STACKS:
        inputs["decoder_input_ids"] = small.words(1, 5, seed=6)
        written = (Tokens.positions(5, "t"),)
    target = target or VocabularyTarget("an entry", 4 if written else tokens - 1, 17, moves=written is None)
    prepared = Prepared(inputs, (Tokens.positions(tokens),), written)
    return Question(LoadedModel(model, None, form), prepared, target)


def dense(asked: Question) -> list[torch.Tensor]:
    """The weights of every site as ``[head, query, key]`` in float64."""
    return [at.weights.full().double() for at in asked.sites]


SIGNAL, DECOY = "cat", 3
#: Where the signal stands in "the dog saw how one cat ran home".
AT_SIGNAL = 6
#: The decoy's score over all others', and the size of values.
_PULL, _SIZE = 5, 10


def planted() -> AttentionAnalyzer:
    """A classifier that depends on whether "cat" stands in the text, and on nothing else.

    Each token is either the signal (channels 0 and 1) or none (2 and 3); each position is either the decoy's (6 and 7)
    or none (8 and 9), so that all vectors have the same size and normalization does nothing. Every query looks mostly
    at the decoy's position, whatever stands there. Values carry the signal alone, into channels 4 and 5, where the
    classifier reads it at the first token.
    """
    tokenizer = AttentionAnalyzer("demo-encoder", cache=False).tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=5,
        max_position_embeddings=64, hidden_dropout_prob=0, attention_probs_dropout_prob=0, num_labels=2,
        id2label={0: "no cat", 1: "cat"}, label2id={"no cat": 0, "cat": 1},
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.zero_()
        embeddings = model.bert.embeddings
        _pair(embeddings.word_embeddings, slice(None), 2)
        embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids(SIGNAL)] = 0
        _pair(embeddings.word_embeddings, tokenizer.convert_tokens_to_ids(SIGNAL), 0)
        _pair(embeddings.position_embeddings, slice(None), 8)
        embeddings.position_embeddings.weight[DECOY] = 0
        _pair(embeddings.position_embeddings, DECOY, 6)
        for layer in model.bert.encoder.layer:
            attention = layer.attention.self
            for head in (0, 8):
                attention.query.bias[head] = _PULL * 8**0.5 / 2  # positions are doubled by the first normalization
                attention.key.weight[head, 6] = 1
                attention.value.weight[head, 0] = attention.value.weight[head + 1, 1] = _SIZE
                layer.attention.output.dense.weight[4, head] = layer.attention.output.dense.weight[5, head + 1] = 1
        model.bert.pooler.dense.weight[0, 4] = 1
        model.classifier.weight[1, 0] = 4
        model.classifier.bias[1] = -0.2
    return AttentionAnalyzer(model, tokenizer, cache=False)


def _pair(table: nn.Embedding, rows: Any, channel: int) -> None:
    table.weight[rows, channel], table.weight[rows, channel + 1] = 1, -1
