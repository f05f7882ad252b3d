"""How targets are written, what they are numbers of, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForTokenClassification, BertConfig

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution import TARGETS
from attention_analyzer.attribution.context import Question, ask
from attention_analyzer.attribution.target import Layout
from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from tests.attribution.cases import planted

PROMPT = "Mr and Mrs Smith went to town. Mr and Mrs"
DATE = "She was born on the third of May, nineteen oh five."


@pytest.fixture(scope="module")
def load() -> Callable[[str], AttentionAnalyzer]:
    loaded: dict[str, AttentionAnalyzer] = {}

    def get(name: str) -> AttentionAnalyzer:
        if name not in loaded:
            loaded[name] = planted() if name == "classifier" else AttentionAnalyzer(name, cache=False)
        return loaded[name]

    return get


def outputs(asked: Question):
    with torch.no_grad():
        return asked.loaded.model(**asked.inputs)


def value(asked: Question) -> float:
    return float(asked.target.values(outputs(asked), asked.whole))


def measure(asked: Question) -> float:
    return float(asked.target.measures(outputs(asked), asked.whole))


@pytest.mark.parametrize(
    ("model", "text", "label"),
    [
        ("demo-decoder", PROMPT, "the next token, "),
        ("demo-encoder", "The dog [MASK] at the cat.", "in place of the mask at 3"),
        ("demo-encoder", "The dog ran.", "the text's representation (mean of all tokens)"),
        ("all-MiniLM-L6-v2", "The dog ran.", "the text's representation (mean of all tokens)"),
        ("demo-translator", DATE, "'1905-05-03', token by token"),
        ("classifier", "the cat ran", "the class 'cat'"),
    ],
)
def test_with_no_target_named_it_is_what_the_model_was_made_for(load, model: str, text: str, label: str) -> None:
    assert label in ask(load(model).loaded, text).target.label


def test_the_next_token_is_the_models_own_choice_or_any_other(load) -> None:
    loaded = load("demo-decoder").loaded
    asked = ask(loaded, PROMPT)
    logits = outputs(asked).logits[0, -1]
    assert value(asked) == pytest.approx(float(logits.max()))
    assert measure(asked) == pytest.approx(float(logits.softmax(-1).max()))
    smith = ask(loaded, PROMPT, "next=Smith")
    assert smith.target.label == "the next token, 'Smith'"
    assert measure(smith) == pytest.approx(float(logits.softmax(-1)[smith.target.entry]))
    assert loaded.tokenizer.decode([smith.target.entry]).strip() == "Smith"
    assert asked.start.tolist() == [0.0] * (len(asked.tokens) - 1) + [1.0]


def test_a_written_token_is_read_one_position_earlier(load) -> None:
    asked = ask(load("demo-decoder").loaded, PROMPT, "position:-1")
    ids = asked.inputs["input_ids"][0]
    assert value(asked) == pytest.approx(float(outputs(asked).logits[0, -2, ids[-1]]))
    assert int(asked.start.argmax()) == len(ids) - 2


def test_a_sequence_is_the_sum_of_its_log_probabilities(load) -> None:
    asked = ask(load("demo-decoder").loaded, PROMPT, "sequence")
    ids = asked.inputs["input_ids"][0]
    each = outputs(asked).logits[0].log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]
    assert value(asked) == pytest.approx(float(each.sum()), rel=1e-5)
    assert measure(asked) == pytest.approx(float(each.mean().exp()), rel=1e-5)
    assert float(asked.start.sum()) == pytest.approx(1)
    assert float(asked.start[-1]) == 0


def test_the_target_of_an_encoder_decoder_is_what_it_writes(load) -> None:
    asked = ask(load("demo-translator").loaded, DATE, "position:3")
    written = asked.inputs["decoder_input_ids"][0]
    assert asked.target.label == "'0' written at 3"
    assert value(asked) == pytest.approx(float(outputs(asked).logits[0, 2, written[3]]))
    assert asked.last_axis == "target"
    given = ask(load("demo-translator").loaded, (DATE, "1999-01-01"), "sequence")
    assert measure(given) < measure(ask(load("demo-translator").loaded, DATE))


def test_a_token_is_masked_and_asked_for(load) -> None:
    loaded = load("demo-encoder").loaded
    asked = ask(loaded, "The dog ran.", "mask:2")
    written = ask(loaded, "The [MASK] ran.", "mask=dog")
    assert asked.target.label == "'dog' at 2, which is masked"
    assert torch.equal(asked.inputs["input_ids"], written.inputs["input_ids"])
    assert value(asked) == pytest.approx(value(written))
    assert asked.target.protected == 2
    assert asked.tokens.pieces[2] == "[MASK]"


def test_representations_are_lengths_along_their_own_direction(load) -> None:
    asked = ask(load("demo-encoder").loaded, "The dog ran.", "hidden:2")
    vector = outputs(asked).last_hidden_state[0, 2]
    assert value(asked) == pytest.approx(float(vector.norm()), rel=1e-5)
    assert measure(asked) == pytest.approx(1, abs=1e-5)
    pooled = ask(load("demo-encoder").loaded, "The dog ran.", "pooled")
    assert value(pooled) == pytest.approx(float(outputs(pooled).last_hidden_state[0].mean(0).norm()), rel=1e-5)
    assert pooled.start.tolist() == pytest.approx([1 / 6] * 6)


def test_a_class_is_read_where_gradients_say(load) -> None:
    asked = ask(load("classifier").loaded, "the cat ran")
    assert value(asked) == pytest.approx(float(outputs(asked).logits[0, 1]))
    assert asked.start.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]  # the pooler reads the first token
    other = ask(load("classifier").loaded, "the cat ran", "class=no cat")
    assert measure(other) == pytest.approx(1 - measure(asked))


def test_a_tag_is_one_of_the_models_labels(load) -> None:
    encoder = load("demo-encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(encoder.tokenizer), hidden_size=12, num_attention_heads=2, num_hidden_layers=2,
        intermediate_size=7, num_labels=3, id2label={0: "O", 1: "PER", 2: "LOC"}, max_position_embeddings=32,
    )  # fmt: skip
    tagger = AttentionAnalyzer(
        AutoModelForTokenClassification.from_config(config).eval(), encoder.tokenizer, cache=False
    )
    asked = ask(tagger.loaded, "the cat ran", "token_class:2=PER")
    assert asked.target.label == "the tag 'PER' of 'cat' at 2"
    assert value(asked) == pytest.approx(float(outputs(asked).logits[0, 2, 1]))
    with pytest.raises(UnsupportedModelError, match="no tags"):
        ask(encoder.loaded, "the cat ran", "token_class:2")


@pytest.mark.parametrize(
    ("model", "target", "error", "message"),
    [
        ("demo-decoder", "magic", InputError, "There is no target 'magic'; targets are written next, position:K"),
        ("demo-decoder", "position", InputError, "takes a position"),
        ("demo-decoder", "next:3", InputError, "takes no position"),
        ("demo-decoder", "sequence=x", InputError, "takes no '=x'"),
        ("demo-decoder", "position:99", SelectionError, "There is no token 99: there are 4, numbered from 0 to 3"),
        ("demo-decoder", "position:0", SelectionError, "Nothing comes before"),
        ("demo-decoder", "next=hippopotamus and more", SelectionError, "is not one token"),
        ("demo-decoder", "mask:1", UnsupportedModelError, "no mask token"),
        ("demo-decoder", "class", UnsupportedModelError, "gives no class to a whole text"),
        ("demo-encoder", "next", UnsupportedModelError, "sees the whole text at once"),
        ("demo-encoder", "sequence", UnsupportedModelError, "sees the whole text at once"),
        ("demo-encoder", "mask", InputError, "The text has 0 mask tokens"),
        ("all-MiniLM-L6-v2", "next", UnsupportedModelError, "predicts nothing"),
        ("all-MiniLM-L6-v2", "mask:1", UnsupportedModelError, "predicts no tokens"),
        ("demo-translator", "pooled", UnsupportedModelError, "need a single stack"),
        ("classifier", "class=dog", SelectionError, "There is no class 'dog'; the classes are no cat, cat"),
    ],
)
def test_what_cannot_be_asked_is_refused(load, model: str, target: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ask(load(model).loaded, "the cat ran", target)


def test_every_kind_of_target_is_described() -> None:
    assert all(len(told) > 20 for told in TARGETS.values())


def test_places_follow_the_tokens_that_are_left() -> None:
    kept = torch.tensor([[True, False, True, True], [False, True, True, False], [False, False, False, False]])
    compact = Layout(kept, kept, compact=True)
    assert compact.place(3).tolist() == [2, 1, 0]
    assert compact.place(1).tolist() == [0, 0, 0]
    assert Layout(kept, kept).place(3).tolist() == [3, 3, 3]
