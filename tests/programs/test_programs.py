"""Programs of planted heads, of random weights and of models: what is found, how it is scored, how it merges."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord, errors
from attention_analyzer.captured import CapturedAttention
from attention_analyzer.external.given_weights import record_from_weights
from attention_analyzer.programs import RULES, HeadPrograms, Program, Programs, Term, programs
from attention_analyzer.programs.matrices import even_rows, rule_rows
from attention_analyzer.programs.program import sentence
from attention_analyzer.programs.scoring import exchanged
from attention_analyzer.programs.text_facts import RuleText
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import State
from attention_analyzer.text.tokens import Tokens

NAMES = ["Tom", "Anna", "the old man", "a small dog", "my sister", "the red fox", "Maria"]
VERBS = ["saw", "took", "found", "wanted"]
THINGS = ["a ball", "the (big) door", "two of the boats (and one oar)", "an apple", "the ball [not the (old) one]"]
TEXTS = [
    f"{NAMES[n % 7]} {VERBS[n % 4]} {THINGS[n % 5]} and {NAMES[(n + 2) % 7]} said so. Then {NAMES[n % 7]} "
    f"{VERBS[(n + 1) % 4]} {THINGS[(n + 1) % 5]} again. {NAMES[(n + 3) % 7]} {VERBS[n % 4]} it too."
    for n in range(16)
]
PLANTED = ["offset -1", "successor of the same token", "matching bracket", "start of the sentence", "first token"]


@cache
def encoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-encoder", cache=False)


@cache
def tokens() -> tuple[Tokens, ...]:
    return tuple(record.tokens for record in encoder().record(TEXTS))


def planted(weight: float, names: list[str] = PLANTED, *, causal: bool = False) -> list[CapturedAttention]:
    """One layer whose heads follow one rule each; where that has no target, all keys alike."""
    rules = [next(rule for rule in RULES if rule.name == name) for name in names]
    found = []
    for each in tokens():
        seen = torch.ones(len(each), len(each), dtype=torch.bool)
        seen = seen.tril() if causal else seen
        rows = rule_rows(RuleText.of(each, each, 0), rules, slice(0, len(each)), seen)
        has = rows.sum(-1, keepdim=True) > 0
        weights = torch.where(has, weight * rows + (1 - weight) * even_rows(seen), even_rows(seen))
        found.append(record_from_weights([weights], each))
    return found


@pytest.mark.parametrize("causal", [False, True])
def test_planted_heads_get_exactly_their_program(causal: bool) -> None:
    found = programs(planted(0.97, causal=causal))
    for head, name in enumerate(PLANTED):
        (term,) = found.of(0, head).terms
        assert (term.condition, term.rule) == ("always", name)
        assert term.weight == pytest.approx(0.97, abs=0.01)
    assert bool((found.table["explained"] >= 0.95).all()) and bool((found.table["iou"] >= 0.9).all())
    assert found.sentence(0, 0).startswith("looks at the token before (9")


def test_a_head_with_two_jobs_shows_both_with_their_shares() -> None:
    mixed = []
    for one, two in zip(planted(1.0, ["offset -1"]), planted(1.0, ["opening bracket"]), strict=True):
        before, bracket = (record.entries[0].weights.full()[0] for record in (one, two))
        inside = RuleText.of(one.tokens, one.tokens, 0).keys.bracket >= 0
        weights = torch.where(inside[:, None], 0.4 * before + 0.6 * bracket, before)
        mixed.append(record_from_weights([weights[None]], one.tokens))
    found = programs(mixed)
    assert {term.rule for term in found.of(0, 0).terms} == {"offset -1", "opening bracket"}
    assert float(found.table["explained"].iloc[0]) > 0.97
    shares = found.terms.groupby("rule")["share"].sum()
    inside = np.mean([float((RuleText.of(each, each, 0).keys.bracket >= 0).float().mean()) for each in tokens()[1::2]])
    assert shares["opening bracket"] == pytest.approx(0.6 * inside, abs=0.02)
    assert shares.sum() == pytest.approx(float(found.table["explained"].iloc[0]), abs=1e-6)


def test_shares_and_what_is_unexplained_sum_to_one() -> None:
    found = encoder().programs(TEXTS)
    shares = found.terms.groupby(["layer", "head"], sort=False)["share"].sum().to_numpy()
    assert np.allclose(shares + found.table["unexplained"].to_numpy(), 1, atol=1e-5)
    assert bool(found.table["explained"].between(found.table["low"], found.table["high"]).all())
    assert bool(found.table["iou"].between(0, 1).all()) and bool(found.table["js"].between(0, 1).all())


def test_scores_are_those_of_matrices_written_out() -> None:
    found = encoder().programs(TEXTS)
    overlaps, errors_, totals = [], 0.0, 0.0
    for record in encoder().record(TEXTS[1::2]):
        weights = record.weights(layer=1, head=2)
        text = RuleText.of(record.tokens, record.tokens, 0)
        seen = torch.ones(weights.shape, dtype=torch.bool)
        expected = torch.zeros(weights.shape)
        left = torch.ones(len(weights))
        for term in found.of(1, 2).terms:
            assert term.condition == "always"
            rule = next(rule for rule in RULES if rule.name == term.rule)
            rows = rule_rows(text, [rule], slice(0, len(weights)), seen)[0]
            expected += term.weight * rows
            left -= term.weight * (rows.sum(-1) > 0)
        expected += left[:, None] * even_rows(seen)
        overlaps.append(float(torch.minimum(weights, expected).sum(-1).mean()))
        errors_ += float((weights - expected).square().sum())
        totals += float((weights - even_rows(seen)).square().sum())
    row = found.table[(found.table["layer"] == 1) & (found.table["head"] == 2)].iloc[0]
    assert row["explained"] == pytest.approx(np.mean(overlaps), abs=1e-5)
    assert row["r2"] == pytest.approx(1 - errors_ / totals, abs=1e-5)


def test_random_weights_get_no_program_above_the_controls() -> None:
    from attention_analyzer.patterns.labels import untrained_model

    model = untrained_model(encoder().loaded, seed=5)
    found = programs(model, TEXTS, untrained=True)
    assert not bool(found.table["above"].any())
    assert programs(encoder().loaded, TEXTS, untrained=True).table["above"].sum() > 20


def test_any_split_of_the_texts_gives_the_state_of_all() -> None:
    study = Programs()
    whole = run_studies(encoder().loaded, TEXTS[:7], [study]).states[0]
    parts = [run_studies(encoder().loaded, part, [study]).states[0] for part in (TEXTS[:2], TEXTS[2:3], TEXTS[3:7])]
    merged = State.merge([State(), *parts])
    assert merged.sites == whole.sites and merged.sums.keys() == whole.sums.keys()
    for name, values in whole.sums.items():
        assert np.allclose(values, merged.sums[name], rtol=1e-4, atol=1e-4), name
    alone = State.merge([study.of_record(record) for record in encoder().record(TEXTS[:7])])
    for name, values in whole.sums.items():
        assert np.allclose(values, alone.sums[name], rtol=1e-3, atol=1e-3), name


def test_a_store_resumes_with_the_same_result(tmp_path: object) -> None:
    first = encoder().programs(TEXTS[:6], store=tmp_path)  # type: ignore[arg-type]
    again = encoder().programs(TEXTS[:6], store=tmp_path)  # type: ignore[arg-type]
    assert first.table.equals(again.table)


@pytest.mark.parametrize("model", ["demo-decoder", "demo-translator"])
def test_other_kinds_of_model(model: str) -> None:
    found = AttentionAnalyzer(model, cache=False).programs(TEXTS[:6])
    assert len(found.table) == sum(site.heads for site in found.fitted.sites)
    assert bool(found.table["explained"].between(0, 1).all())
    assert all(
        re.fullmatch(r"(looks .*|does nothing that a rule says); \d+% unexplained", each)
        for each in found.table["sentence"]
    )


def test_each_head_is_held_against_another_ones_program() -> None:
    fitted = encoder().programs(TEXTS[:6]).fitted
    given = exchanged(fitted, 0)
    own = [id(program) for heads in fitted.programs.values() for program in heads]
    other = [id(program) for heads in given.values() for program in heads]
    assert sorted(own) == sorted(other) and all(one != two for one, two in zip(own, other, strict=True))


def test_sentences() -> None:
    program = Program((Term("always", "offset -1", 0.7), Term("in brackets", "opening bracket", 0.5)))
    said = sentence(program, [0.71, 0.12], 0.0, 0.17)
    assert said == (
        "looks at the token before (71%), and inside brackets at the opening bracket around it (12%); 17% unexplained"
    )
    more = Program((Term("always", "first token", 0.3), Term("name", "first token", 0.4)))
    assert sentence(more, [0.3, 0.1], 0.25, 0.35) == (
        "looks at the first token of the text, more so from names (40%), and evenly at all it sees (25%); "
        "35% unexplained"
    )
    assert sentence(Program(), [], 0.0, 1.0) == "does nothing that a rule says; 100% unexplained"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encoder().programs(TEXTS[:5]), "at least 6 texts are needed; 5 given"),
        (lambda: encoder().programs("one text"), "A list of at least 6 texts was expected, not str"),
        (lambda: programs(planted(1.0)[:4]), "at least 6 texts are needed; 4 given"),
        (lambda: programs(planted(1.0), untrained=True), "records are measured already"),
        (lambda: programs(planted(1.0)[:6] + encoder().record(TEXTS[:2])), "different models"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(call: object, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        call()  # type: ignore[operator]


def test_a_head_that_is_not_there() -> None:
    found: HeadPrograms = programs(planted(1.0))
    with pytest.raises(errors.SelectionError, match="There is no head L3H0"):
        found.of(3, 0)
    assert isinstance(encoder().record(TEXTS[0]), AttentionRecord)


def test_weights_that_sum_to_a_hair_more_than_one_leave_every_measure_finite() -> None:
    texts = [
        "The old man walked down the road, and his dog ran ahead of him. It was a warm evening in June.",
        "When the rain stopped, the children went out to play; the streets were still wet. Nobody saw the cat.",
    ] * 3
    table = AttentionAnalyzer("demo-decoder", cache=False).programs(texts).table
    assert bool(np.isfinite(table[["explained", "iou", "js", "r2"]].to_numpy()).all())
