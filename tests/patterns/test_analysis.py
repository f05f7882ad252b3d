"""An attention matrix by itself: statistics, strengths and names, whatever form it comes in."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, Tokens
from attention_analyzer.errors import InputError
from attention_analyzer.patterns import named, strengths_of
from attention_analyzer.patterns.analysis import analyze_matrix

N = 11
PIECES = "the cat saw the dog and the dog saw a bird".split()


def one_hot(keys: list[int], size: int = N) -> torch.Tensor:
    return torch.eye(size)[keys]


def previous(size: int = N) -> torch.Tensor:
    return one_hot([max(query - 1, 0) for query in range(size)], size)


def test_the_specification_s_call() -> None:
    analyzer = AttentionAnalyzer("all-MiniLM-L6-v2")
    patterns = analyzer.get_attention_patterns("The quick brown fox jumps over the lazy dog")
    analysis = analyzer.analyze_pattern(patterns[0])
    assert {"mean", "max", "min", "entropy", "patterns", "shows", "heads"} <= set(analysis)
    matrix = patterns[0][0].double()
    assert analysis["mean"] == pytest.approx(float(matrix.mean()), rel=1e-5)
    assert analysis["max"] == pytest.approx(float(matrix.max()), rel=1e-5)
    assert analysis["min"] == pytest.approx(float(matrix.min()), rel=1e-5)
    entropy = -(matrix * matrix.clamp(min=1e-300).log()).sum(-1).mean()
    assert analysis["entropy"] == pytest.approx(float(entropy), rel=1e-5)
    # Head 2 of layer 0 puts everything on the token before.
    assert analysis["heads"][2]["shows"][0] == "previous_token"
    assert analysis["heads"][2]["patterns"]["previous_token"] > 0.95
    json.dumps(analysis)


def test_one_head_and_several_agree() -> None:
    following = one_hot([min(query + 1, N - 1) for query in range(N)])
    weights = torch.stack([following, one_hot([6] * N), torch.full((N, N), 1 / N)])
    together = analyze_matrix(weights, PIECES)
    alone = [analyze_matrix(head, PIECES) for head in weights]
    for head, single in zip(together["heads"], alone, strict=True):
        assert head["shows"] == single["shows"]
        assert head["patterns"] == pytest.approx(single["patterns"])
    assert "heads" not in alone[0]
    assert together["entropy"] == pytest.approx(np.mean([single["entropy"] for single in alone]))
    assert together["max"] == 1
    assert together["min"] == 0
    assert together["patterns"]["broad"] == pytest.approx(np.mean([single["patterns"]["broad"] for single in alone]))
    assert together["shows"] == ["next_token", "local_window", "vertical", "broad"]


@pytest.mark.parametrize(
    "form",
    [
        lambda matrix: matrix,
        lambda matrix: matrix.half(),
        lambda matrix: matrix[None],
        lambda matrix: matrix[None, None],
        lambda matrix: matrix.numpy().astype(np.float64),
        lambda matrix: matrix.numpy().astype(int),
        lambda matrix: matrix.tolist(),
    ],
)
def test_every_form_says_the_same(form) -> None:
    assert analyze_matrix(form(previous()))["patterns"] == pytest.approx(analyze_matrix(previous())["patterns"])


def test_what_depends_on_tokens_needs_them() -> None:
    without, with_them = analyze_matrix(previous()), analyze_matrix(previous(), PIECES)
    assert "special_weight" not in without
    assert with_them["special_weight"] == 0
    assert {"duplicate_token", "induction"} <= set(with_them["patterns"]) - set(without["patterns"])
    marked = Tokens(pieces=tuple(PIECES), is_special=(True, *[False] * (N - 1)))
    assert analyze_matrix(one_hot([0] * N), marked)["patterns"]["special_token"] == 1


def test_hidden_cells_of_a_causal_matrix_do_not_count() -> None:
    matrix = torch.tril(torch.ones(N, N))
    matrix /= matrix.sum(-1, keepdim=True)
    analysis = analyze_matrix(matrix)
    assert analysis["min"] == pytest.approx(1 / N)
    assert analysis["patterns"]["broad"] == pytest.approx(1)
    assert analysis["shows"] == ["broad"]


def test_last_rows_of_a_causal_text_keep_their_diagonal() -> None:
    whole = previous()
    last = analyze_matrix(whole[-3:], PIECES)
    assert last["patterns"]["previous_token"] == pytest.approx(1)
    assert last["distance"] == pytest.approx(1)


def test_another_sequence_has_no_offsets() -> None:
    cross = torch.full((5, 7), 1 / 7)
    analysis = analyze_matrix(cross)
    assert "distance" not in analysis
    assert "previous_token" not in analysis["patterns"]
    assert analysis["entropy"] == pytest.approx(math.log(7))
    assert analysis["shows"] == ["broad"]


def test_one_cell_shows_nothing() -> None:
    analysis = analyze_matrix([[1.0]])
    assert analysis["shows"] == []
    assert analysis["patterns"] == {}
    assert analysis["mean"] == analysis["self_weight"] == 1


def test_the_matrix_is_left_alone() -> None:
    matrix = previous()
    analyze_matrix(matrix, PIECES)
    assert torch.equal(matrix, previous())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.zeros(3), r"\[query, key\]"),
        (torch.zeros(2, 1, 3, 3), r"\(2, 1, 3, 3\)"),
        (torch.zeros(0, 3), r"\(0, 3\)"),
        ("abc", "not str"),
        ([[0.5, 0.5], [1.0]], "not list"),
        (torch.tensor([[0.5, math.nan]]), "query 0, key 1 is nan"),
        (torch.tensor([[1.0, 0.0], [1.5, -0.5]]), "query 1, key 1 is -0.5"),
        (torch.tensor([[3.0, 4.0]]), "sums to 7"),
        (torch.eye(2, dtype=torch.complex64), "complex"),
    ],
)
def test_what_is_no_matrix_is_refused(weights, message: str) -> None:
    with pytest.raises(InputError, match=message):
        analyze_matrix(weights)


def test_tokens_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="11 keys, but 3 tokens"):
        analyze_matrix(previous(), ["a", "b", "c"])


def test_strengths_and_names_of_a_matrix() -> None:
    assert named(previous(), PIECES)[0] == "previous_token"
    assert strengths_of(previous(), PIECES)["previous_token"] == 1
    with pytest.raises(InputError, match="not of 2 heads"):
        named(torch.stack([previous(), previous()]))


def test_rows_may_sum_to_a_little_more_than_one() -> None:
    assert strengths_of(previous() * 1.01)
    with pytest.raises(InputError, match=r"sums to 1\.1"):
        strengths_of(previous() * 1.1)


def test_without_tokens_the_first_position_is_the_first_key() -> None:
    assert strengths_of(one_hot([0] * N))["first_token"] == pytest.approx(1)
    assert strengths_of(one_hot([1] * N))["first_token"] == pytest.approx(0)


def test_one_row_alone_says_nothing_about_offsets() -> None:
    assert "previous_token" not in strengths_of(one_hot([3])[:1])


def test_last_rows_are_those_of_the_last_tokens() -> None:
    # "the dog saw a bird": "dog" and "saw" were there before, and the last rows look there.
    whole = one_hot([0, 1, 2, 0, 4, 5, 3, 4, 2, 9, 10])
    assert strengths_of(whole[-5:], PIECES)["duplicate_token"] == pytest.approx(1)
