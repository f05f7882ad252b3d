"""Heads that follow their programs: the planted and the empty case, the controls, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.heads.eval_batches import trials_of
from attention_analyzer.programs import HeadPrograms, Program, Term
from attention_analyzer.programs.replace import REPLACEMENTS, ProgramPattern
from attention_analyzer.programs.text_facts import RuleText
from attention_analyzer.text.tokens import Tokens

TEXTS = [
    "The cat sat on the mat, and the dog lay by the door.",
    "One day a girl named Sue saw a big tree. The big tree was near the house.",
    "Tom had a dog. The dog was happy, and it slept.",
    "When the rain stopped, the children went out to play in the garden.",
    "She gave the book to her brother, and he was glad.",
    "They ran down the road to the river (it was near), and they swam.",
]


@cache
def analyzer(name: str = "demo-decoder") -> AttentionAnalyzer:
    return AttentionAnalyzer(name, cache=False)


@cache
def found(name: str = "demo-decoder") -> HeadPrograms:
    return analyzer(name).programs(TEXTS)


@pytest.mark.parametrize("name", ["demo-decoder", "demo-encoder", "demo-translator", "all-MiniLM-L6-v2"])
def test_programs_do_less_harm_than_the_controls(name: str) -> None:
    table = analyzer(name).replace_by_program(found(name), TEXTS, shares=(0.5,)).table.set_index("replacement")
    assert set(table.index) == set(REPLACEMENTS)
    assert abs(table["change"]["program"]) < table["change"].drop("program").min()
    assert bool(table["change"].between(table["low"], table["high"]).all())


def test_an_empty_program_is_evenly_spread() -> None:
    rows = ProgramPattern(Program(), (axes(TEXTS[0]),)).rows(slice(0, 4), torch.ones(4, len(tokens(TEXTS[0]))).bool())
    assert torch.allclose(rows, torch.full_like(rows, 1 / rows.shape[1]))


def test_a_program_is_written_on_the_text_that_it_is_asked_for_and_not_on_padding() -> None:
    program = Program((Term("always", "offset -1", 0.75),))
    both = (axes(TEXTS[0]), axes(TEXTS[2]))
    size = len(tokens(TEXTS[0])) + 3
    for text, own in enumerate(both):
        seen = torch.zeros(size, size, dtype=torch.bool)
        seen[:, : own.keys.size] = True
        rows = ProgramPattern(program, both).of_text(text).rows(slice(2, size), seen)
        inside = rows[: own.queries.size - 2]
        assert not bool(rows[:, own.keys.size :].any())
        assert torch.allclose(inside.sum(-1), torch.ones(len(inside)))
        assert torch.allclose(inside.diagonal(1), torch.tensor(0.75 + 0.25 / own.keys.size))


def test_programs_without_terms_change_what_even_weights_change() -> None:
    made = found()
    empty = {site: (Program(),) * site.heads for site in made.fitted.sites}
    nothing = replace(made, fitted=replace(made.fitted, programs=empty))
    table = analyzer().replace_by_program(nothing, TEXTS, "L1-2").table.set_index("replacement")
    for name in ("program", "another head's program"):
        assert table["value"][name] == pytest.approx(table["value"]["uniform"], abs=1e-6)


def test_hidden_tokens_are_hidden_from_programs_too() -> None:
    trial = trials_of(analyzer("demo-encoder").loaded, TEXTS)[0]
    for ids, each in zip(trial.inputs["input_ids"].tolist(), trial.prepared.source, strict=True):
        assert list(each.ids) == ids[: len(each)]
        masked = [index for index, piece in enumerate(each.pieces) if piece == "[MASK]"]
        assert masked and all(
            set(each.word_texts[each.words[index]]) == {"x"} for index in masked if single(each, index)
        )


def single(each: Tokens, index: int) -> bool:
    return each.words.count(each.words[index]) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analyzer().replace_by_program(found("demo-encoder"), TEXTS), "find programs for this model first"),
        (lambda: analyzer().replace_by_program(found(), TEXTS[:1]), "at least 2 texts was expected"),
        (lambda: analyzer().replace_by_program(found(), TEXTS, shares=(0, 1)), r"but \[0, 1\] were given"),
        (lambda: analyzer().replace_by_program(found(), TEXTS, "L9H0"), "There is no layer 9"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(call: object, message: str) -> None:
    with pytest.raises((errors.InputError, errors.SelectionError), match=message):
        call()  # type: ignore[operator]


def test_one_head_alone() -> None:
    table = analyzer().replace_by_program(found(), TEXTS, "L1H4").table
    assert table["heads"].tolist() == [1] * 4 and np.allclose(table["share"], 1 / 30)


@cache
def tokens(text: str) -> Tokens:
    return analyzer("demo-encoder").record(text).tokens


def axes(text: str) -> RuleText:
    return RuleText.of(tokens(text), tokens(text), 0)
