"""Every rule's contract, and what single rules mean, on texts small enough to say it by hand."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.programs import RULES, Rule
from attention_analyzer.programs.conditions import CELLS, CONDITIONS, cells_of
from attention_analyzer.programs.matrices import rule_rows
from attention_analyzer.programs.text_facts import KINDS, RuleText
from attention_analyzer.text.tokens import Tokens

TEXTS = (
    'The (old) cat said "no cat". It sat there (again [or so]) in 1999.',
    "One line\nand another line, Maria.",
    "unfathomably",
    "",
)


@cache
def tokens(text: str) -> Tokens:
    return AttentionAnalyzer("demo-encoder", cache=False).record(text or ".").tokens


def axes(text: str) -> RuleText:
    found = tokens(text)
    return RuleText.of(found, found, 0)


def matrix(rule: Rule, text: RuleText, *, causal: bool = False) -> Tensor:
    seen = torch.ones(text.queries.size, text.keys.size, dtype=torch.bool)
    return rule_rows(text, [rule], slice(0, text.queries.size), seen.tril() if causal else seen)[0]


def looked_at(name: str, text: str) -> dict[int, list[int]]:
    """The keys of each query that has a target, by position."""
    rule = next(rule for rule in RULES if rule.name == name)
    return {query: row.nonzero()[:, 0].tolist() for query, row in enumerate(matrix(rule, axes(text))) if row.sum() > 0}


@pytest.fixture(params=RULES, ids=[rule.name for rule in RULES])
def rule(request: pytest.FixtureRequest) -> Rule:
    return request.param


def test_names_and_phrases_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len({rule.phrase for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("causal", [False, True])
def test_rows_sum_to_one_or_to_nothing_and_stay_where_the_query_sees(rule: Rule, text: str, causal: bool) -> None:
    found = matrix(rule, axes(text), causal=causal)
    assert bool((found >= 0).all())
    sums = found.sum(-1)
    assert bool(((sums - 1).abs().lt(1e-5) | sums.eq(0)).all())
    if causal:
        assert not bool(found.triu(1).any())


def test_runs_of_rows_are_cut_from_the_whole(rule: Rule) -> None:
    text = axes(TEXTS[0])
    seen = torch.ones(text.queries.size, text.keys.size, dtype=torch.bool)
    parts = [rule_rows(text, [rule], run, seen[run])[0] for run in (slice(0, 7), slice(7, text.queries.size))]
    assert torch.equal(torch.cat(parts), matrix(rule, text))


def test_queries_that_are_the_last_keys_have_the_same_rows(rule: Rule) -> None:
    whole = tokens(TEXTS[0])
    cut = Tokens.from_dict({name: value if name == "texts" else value[5:] for name, value in whole.to_dict().items()})
    late = matrix(rule, RuleText.of(cut, whole, 5))
    assert torch.allclose(late, matrix(rule, axes(TEXTS[0]))[5:])


def test_other_tokens_have_no_place_among_the_keys(rule: Rule) -> None:
    """In cross-attention no rule may take a query's position for a key's."""
    queries, keys = tokens(TEXTS[1]), tokens(TEXTS[0])
    found = matrix(rule, RuleText.of(queries, keys, None))
    assert found.shape == (len(queries), len(keys))
    if rule.name.startswith(("offset", "window", "near", "same token", "successor", "previous", "next")):
        assert not bool(found.any())


def test_what_single_rules_look_at() -> None:
    # [CLS] The ( old ) cat said " no cat " . It sat there ( again [ or so ] ) in 1 9 9 9 . [SEP]
    #   0    1  2  3  4  5    6  7  8  9  10 11 12 13  14  15  16  17 18 19 20 21 22 23 …    27  28
    text = TEXTS[0]
    assert looked_at("matching bracket", text) == {4: [2], 20: [17], 21: [15]}
    assert looked_at("opening bracket", text) == {
        3: [2],
        4: [2],
        16: [15],
        17: [15],
        18: [17],
        19: [17],
        20: [17],
        21: [15],
    }
    assert looked_at("opening quotation mark", text) == {8: [7], 9: [7], 10: [7]}
    assert looked_at("same token before", text)[9] == [5]
    assert looked_at("successor of the same token", text)[9] == [6]
    assert looked_at("start of the sentence", text)[20] == [12]
    assert looked_at("end of the previous sentence", text)[20] == [11]
    assert looked_at("own word", text)[24] == [23, 25, 26]
    assert looked_at("previous word", text)[25] == [22]
    assert looked_at("previous punctuation", text)[6] == [4]
    assert looked_at("next number", text)[12] == [23]
    assert looked_at("offset -1", text)[1] == [0] and 0 not in looked_at("offset -1", text)


def test_lines_names_and_case() -> None:
    # [CLS] One line and another line , Maria . [SEP]
    text = TEXTS[1]
    pieces = tokens(text).pieces
    found = axes(text).keys
    assert [KINDS[number] for number in found.kind.tolist()][pieces.index("One")] == "function word"
    maria = next(index for index, word in enumerate(found.words) if word == "Maria" and found.word_start[index])
    assert KINDS[int(found.kind[maria])] == "name"
    assert looked_at("start of the line", text)[maria] == [pieces.index("and")]


def test_a_cell_holds_every_query_and_conditions_are_sets_of_cells() -> None:
    found = cells_of(axes(TEXTS[0]).queries)
    assert CELLS[int(found[0])] == ("special", False, False, False)
    assert CELLS[int(found[1])] == ("function word", False, False, True)
    assert CELLS[int(found[21])] == ("punctuation", True, True, False)
    kinds = torch.stack([condition.holds for condition in CONDITIONS if condition.axis == 0])
    assert torch.equal(kinds.sum(0), torch.ones(len(CELLS), dtype=torch.long))
    assert bool(CONDITIONS[0].holds.all())


def test_shuffling_moves_words_and_keeps_their_tokens_together() -> None:
    text = axes(TEXTS[0])
    moved = text.shuffled(3).keys
    assert moved.pieces != text.keys.pieces and sorted(moved.pieces) == sorted(text.keys.pieces)
    assert (moved.pieces[0], moved.pieces[-1]) == ("[CLS]", "[SEP]")
    year = [index for index, word in enumerate(moved.words) if word == "1999"]
    assert year == list(range(year[0], year[0] + 4))
    assert len({moved.word[index] for index in year}) == 1
