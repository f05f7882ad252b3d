"""Every metric against patterns whose value can be said beforehand; the slow reference holds for all others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionRecord, Tokens
from attention_analyzer.metrics import METRICS

N = 7
NAMES = [metric.name for metric in METRICS]


def table(matrix: torch.Tensor, tokens: Tokens | None = None):
    return AttentionRecord.from_weights(matrix[None], tokens or Tokens.of_pieces("abcdefg")).heads().iloc[0]


def shifted(offset: int) -> torch.Tensor:
    """All weight on the token ``offset`` away; at the text's end on the token itself."""
    matrix = torch.zeros(N, N)
    for query in range(N):
        key = query + offset
        matrix[query, key if 0 <= key < N else query] = 1
    return matrix


def test_names_are_unique_and_documented() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for metric in METRICS:
        assert type(metric).__doc__, metric.name
        assert metric.unit in {"weight", "nats", "tokens", "keys", ""}


def test_uniform_weights() -> None:
    row = table(torch.full((N, N), 1 / N))
    expected = {
        "mean_weight": 1 / N,
        "max_weight": 1 / N,
        "min_weight": 1 / N,
        "entropy": math.log(N),
        "normalized_entropy": 1,
        "effective_keys": N,
        "confidence": 1 / N,
        "self_weight": 1 / N,
        "other_weight": 1 - 1 / N,
        "first_weight": 1 / N,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-6), name
    distances = [abs(i - j) for i in range(N) for j in range(N)]
    assert row["distance"] == pytest.approx(sum(distances) / N**2, abs=1e-5)


def test_one_key_each() -> None:
    row = table(torch.eye(N))
    for name, value in {
        "entropy": 0,
        "effective_keys": 1,
        "confidence": 1,
        "distance": 0,
        "self_weight": 1,
        "min_weight": 0,
        "max_weight": 1,
        "other_weight": 0,
        "local_weight": 1,
        "received_concentration": 0,
    }.items():
        assert row[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize(("offset", "name"), [(-1, "previous_weight"), (1, "next_weight")])
def test_neighbors(offset: int, name: str) -> None:
    row = table(shifted(offset))
    other = {"previous_weight": "next_weight", "next_weight": "previous_weight"}[name]
    assert row[name] == pytest.approx(1, abs=1e-6)
    assert row[other] == pytest.approx(0, abs=1e-6)
    assert row["distance"] == pytest.approx((N - 1) / N, abs=1e-6)


def test_groups_of_tokens() -> None:
    tokens = Tokens(
        pieces=("[CLS]", "a", ",", "b", "[SEP]", "c", "[SEP]"),
        is_special=(True, False, False, False, True, False, True),
        is_separator=(False, False, False, False, True, False, True),
    )
    matrix = torch.tensor([0.05, 0.1, 0.2, 0.05, 0.25, 0.05, 0.3]).expand(N, N).contiguous()
    row = table(matrix, tokens)
    assert row["first_weight"] == pytest.approx(0.05, abs=1e-6)
    assert row["special_weight"] == pytest.approx(0.6, abs=1e-6)
    assert row["separator_weight"] == pytest.approx(0.55, abs=1e-6)
    assert row["punctuation_weight"] == pytest.approx(0.2, abs=1e-6)


def test_causal_cells_that_cannot_be_seen_do_not_count() -> None:
    matrix = torch.tril(torch.ones(N, N))
    matrix /= matrix.sum(-1, keepdim=True)
    row = table(matrix)
    assert row["min_weight"] == pytest.approx(1 / N, abs=1e-6)
    assert row["mean_weight"] == pytest.approx(N / (N * (N + 1) / 2), abs=1e-6)
    assert row["normalized_entropy"] == pytest.approx(1, abs=1e-5)


def test_a_stripe_is_received_by_one_token() -> None:
    matrix = torch.zeros(N, N)
    matrix[:, 3] = 1
    assert table(matrix)["received_concentration"] == pytest.approx(1, abs=1e-5)


def test_metrics_without_a_meaning_are_missing_not_zero() -> None:
    record = AttentionRecord.from_weights(torch.full((1, 4, 3), 1 / 3), list("abcd"), key_tokens=list("xyz"))
    row = record.heads().iloc[0]
    for name in ("distance", "self_weight", "other_weight", "previous_weight", "next_weight", "local_weight"):
        assert np.isnan(row[name]), name
    assert row["entropy"] == pytest.approx(math.log(3), abs=1e-6)


def test_one_token_alone() -> None:
    row = AttentionRecord.from_weights(torch.ones(1, 1, 1), ["a"]).heads().iloc[0]
    assert row["self_weight"] == 1
    assert row["entropy"] == 0
    assert np.isfinite(row["mean_weight"])


def test_columns_of_a_head_table() -> None:
    record = AttentionRecord.from_weights([torch.softmax(torch.randn(3, 4, 4), -1)] * 2, list("abcd"))
    table = record.heads(["entropy", "max_weight"])
    assert list(table) == ["stack", "kind", "layer", "head", "entropy", "max_weight"]
    assert table[["layer", "head"]].to_numpy().tolist() == [[layer, head] for layer in range(2) for head in range(3)]


def test_concentration_of_received_weight_in_double_precision() -> None:
    weights = torch.softmax(torch.randn(2, 5, 5, dtype=torch.float64), -1)
    received = weights.sum(1) / weights.sum((1, 2))[:, None]
    expected = 1 + (received * received.log()).sum(-1) / math.log(5)
    found = AttentionRecord.from_weights([weights], list("abcde")).heads(["received_concentration"])
    assert found["received_concentration"].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
