"""The translator is right about dates it never saw, and looks where their digits come from."""

from __future__ import annotations

import random

import pytest

from demo_models import dates
from demo_models.evaluation import exact_share, pointing


@pytest.fixture(scope="module")
def held_out() -> list[dates.Example]:
    generator = random.Random(2026)
    return [dates.example(generator, held_out=True) for _ in range(400)]


def test_exactly_right_on_held_out_dates(translator, held_out) -> None:
    assert exact_share(*translator, held_out) >= 0.95


def test_cross_attention_points_to_the_true_source(translator, held_out) -> None:
    scores = pointing(*translator, held_out)
    best = max(score for layer in scores["pointing_by_head"] for score in layer)
    assert scores["chance"] < 0.15
    assert best > 0.5
    # The same attention, held against another sentence's true positions, is no better than chance.
    assert scores["of_other_sentence"] < 2 * scores["chance"]


def test_reads_an_unknown_name(translator) -> None:
    model, tokenizer = translator
    source = tokenizer("Marguerite was born on the seventh of June, eighteen sixty-two.", return_tensors="pt")
    written = model.generate(**source, max_new_tokens=16)
    assert tokenizer.decode(written[0], skip_special_tokens=True) == "1862-06-07"


@pytest.mark.parametrize(
    ("years", "digits"), [("nineteen eighteen", "1918"), ("eighteen nineteen", "1819"), ("twenty sixteen", "2016")]
)
def test_reads_the_order_of_words_that_could_each_be_the_century(translator, years: str, digits: str) -> None:
    model, tokenizer = translator
    source = tokenizer(f"The war ended on the eleventh of November, {years}.", return_tensors="pt")
    written = model.generate(**source)
    assert tokenizer.decode(written[0], skip_special_tokens=True) == f"{digits}-11-11"


def test_every_piece_of_an_example_is_a_piece_of_the_tokenizer(translator) -> None:
    _, tokenizer = translator
    known = tokenizer.get_vocab()
    generator = random.Random(3)
    for _ in range(300):
        one = dates.example(generator, held_out=False)
        assert tokenizer.tokenize(one.text) == [p if p in known else "<unk>" for p in one.pieces]
