"""Answers of every head, held against loops over the eager model's own attention matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from attention_analyzer.errors import InputError
from attention_analyzer.linguistics.questions import Question, ask
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config
from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.text.conllu import read_conllu
from attention_analyzer.text.tokenization import tokenize
from tests.linguistics.treebank import NOUNS, ROWS, VERBS, treebank

PIECES = "[PAD] [UNK] [CLS] [SEP] the The a . big very did n 't ch ##ase di ##d ca ##t".split()
PIECES += [piece for word in (*NOUNS, *VERBS) for piece in (word[:3], "##" + word[3:]) if piece.strip("#")]


def tokenizer() -> PreTrainedTokenizerFast:
    """Word pieces: nearly every noun and verb is two tokens."""
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(PIECES))}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def bert(positions: int = 40) -> LoadedModel:
    config = BertConfig(
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=7,
        vocab_size=len(PIECES),
        max_position_embeddings=positions,
        initializer_range=0.6,
    )
    return from_config(config, tokenizer(), model_class=BertModel)


def llama() -> LoadedModel:
    config = LlamaConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        intermediate_size=7,
        vocab_size=len(PIECES),
        max_position_embeddings=40,
        initializer_range=0.6,
    )
    return from_config(config, tokenizer(), model_class=LlamaModel)


def slow_answers(loaded: LoadedModel, sentence: AnnotatedText, question: Question) -> list[int]:
    """Clark et al.'s rules, cell by cell, on the matrices the model itself hands over."""
    tokenized = tokenize(loaded.tokenizer, [sentence.text])
    owner = words_of_tokens(tokenized.tokens[0], sentence.spans)
    loaded.model.set_attn_implementation("eager")
    inputs = {name: value for name, value in tokenized.inputs.items() if name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        matrices = loaded.model(**inputs, output_attentions=True).attentions
    loaded.model.set_attn_implementation("sdpa")
    size = len(sentence)
    answers = []
    for layer in matrices:
        for matrix in layer[0].double().numpy():
            looks = np.zeros((size, size))
            for word in range(size):
                rows = [token for token, own in enumerate(owner) if own == word]
                for other in range(size):
                    columns = [token for token, own in enumerate(owner) if own == other]
                    looks[word, other] = np.mean([sum(matrix[row, column] for column in columns) for row in rows])
            if question.received:
                looks = looks.T
            total = np.mean([looks[word] for word in question.asking], axis=0)
            best, answer = 0.0, -1
            for other in question.candidates if question.candidates is not None else range(size):
                if other not in question.asking and total[other] > best:
                    best, answer = total[other], other
            answers.append(answer)
    return answers


@pytest.mark.parametrize("make", [bert, llama])
def test_answers_are_those_of_the_definition(make) -> None:
    loaded = make()
    sentences = [each.spaced() for each in read_conllu((treebank(5) + ROWS).splitlines(), "file")]
    anything = frozenset({0})
    questions = [
        Question(index, word, anything, ("x",), received=received)
        for index, sentence in enumerate(sentences)
        for word in range(len(sentence))
        for received in (False, True)
    ]
    questions += [
        Question(5, 1, anything, ("x",), words=(0, 1, 3)),
        Question(5, 7, anything, ("x",), candidates=(2, 5)),
        Question(0, 4, anything, ("x",), received=True, candidates=(0, 2)),
    ]
    answers = ask(loaded, sentences, questions)
    assert answers.words.shape == (len(questions), 6)
    assert [(site.layer, head) for site, head in answers.heads] == [
        (layer, head) for layer in (0, 1) for head in (0, 1, 2)
    ]
    for row, question in enumerate(questions):
        assert answers.words[row].tolist() == slow_answers(loaded, sentences[question.sentence], question), question
    if make is llama:
        # A causal head's first word sees nobody, and nobody after the last one looks at it.
        assert (answers.words[0] == -1).all()
    assert len(np.unique(answers.words)) > 4


def test_what_cannot_be_asked_is_said() -> None:
    loaded = bert(positions=9)
    sentences = [each.spaced() for each in read_conllu((treebank(2) + ROWS).splitlines(), "file")]
    questions = [Question(index, 1, frozenset({0}), ("x",)) for index in range(3)]
    answers = ask(loaded, sentences, questions)
    assert answers.left_out == (1, 2)
    assert answers.seen.tolist() == [True, False, False]
    with pytest.raises(InputError, match="exceed the model's maximum"):
        ask(loaded, sentences[2:], [])
    with pytest.raises(InputError, match="no annotated sentence"):
        ask(loaded, [], [])


def test_a_word_without_a_token_of_its_own_is_not_counted() -> None:
    sentence = AnnotatedText("the dog", ((0, 3), (0, 3), (4, 7)), forms=("i", "n", "dog"))
    answers = ask(bert(), [sentence], [Question(0, 1, frozenset({2}), ("x",)), Question(0, 2, frozenset({0}), ("x",))])
    assert answers.seen.tolist() == [False, True]
