"""The measures themselves, on attention patterns whose strength is known."""

from __future__ import annotations

import pytest
import torch

from demo_models import probes

SIZE = 1 + probes.BLOCK * probes.REPEATS


def _pattern(offset: int) -> torch.Tensor:
    """All weight `offset` places back, on the first token where there is no such place."""
    weights = torch.zeros(1, 1, 1, SIZE, SIZE)
    for query in range(SIZE):
        weights[..., query, max(query - offset, 0)] = 1.0
    return weights


@pytest.mark.parametrize(
    ("offset", "name"),
    [(1, "previous_token"), (probes.BLOCK, "duplicate_token"), (probes.BLOCK - 1, "induction")],
)
def test_planted_head_has_full_strength_of_its_own_kind_only(offset: int, name: str) -> None:
    strengths = probes.repetition_strengths(_pattern(offset))
    for kind, values in strengths.items():
        expected = 1.0 if kind == name else 0.0
        assert values.item() == pytest.approx(expected, abs=0.02)


def test_uniform_causal_attention_stays_near_chance() -> None:
    uniform = torch.ones(1, 1, 1, SIZE, SIZE).tril()
    uniform /= uniform.sum(-1, keepdim=True)
    assert all(values.item() < 0.06 for values in probes.repetition_strengths(uniform).values())


def test_repeats_are_repeats_of_ordinary_tokens() -> None:
    rows = probes.repeated_random_tokens(vocabulary=101, bos=0)
    assert rows.shape == (probes.EXAMPLES, SIZE)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] >= 2).all()
    blocks = rows[:, 1:].unflatten(1, (probes.REPEATS, probes.BLOCK))
    assert (blocks == blocks[:, :1]).all()


def test_statistics_of_a_head_that_looks_two_back() -> None:
    weights = torch.zeros(1, 1, 1, 5, 5)
    for query, key in enumerate([0, 0, 0, 1, 2]):
        weights[..., query, key] = 1.0
    statistics = {name: values.item() for name, values in probes.text_statistics(weights).items()}
    assert statistics == pytest.approx(
        {
            "entropy": 0.0,
            "max_weight": 1.0,
            "distance": 7 / 5,
            "self_weight": 1 / 5,
            "previous_weight": 1 / 4,
            "first_weight": 2 / 4,
        }
    )
