"""A run that was cut off ends where an unbroken one ends."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from demo_models.repetition import repeated_random, repeated_span
from demo_models.training_loop import Batch, Plan, train, write_loss_curve

pytestmark = [
    pytest.mark.usefixtures("uncompiled"),
    # Torch's compiler imports a part of torch that torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]

PLAN = Plan(rate=((0, 0.0), (2, 1.0), (7, 0.0)), learning_rate=0.1)


class CutOff(Exception):
    """Stands for a machine that goes away."""


def _model() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Embedding(11, 3), nn.Linear(3, 2), nn.Linear(2, 11))


def _loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["tokens"]).float(), batch["tokens"])


def _batch_at(step: int) -> Batch:
    return {"tokens": torch.randint(11, (13,), generator=torch.Generator().manual_seed(step))}


def test_resumed_run_equals_unbroken_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo_models.training_loop.SECONDS_BETWEEN_SAVES", 0.0)
    unbroken = _model()
    whole = train(unbroken, _loss_of, _batch_at, PLAN, scratch=tmp_path / "whole")

    def cut_off_at_four(step: int) -> Batch:
        if step == 4:
            raise CutOff
        return _batch_at(step)

    with pytest.raises(CutOff):
        train(_model(), _loss_of, cut_off_at_four, PLAN, scratch=tmp_path / "parts")
    resumed = _model()
    rest = train(resumed, _loss_of, _batch_at, PLAN, scratch=tmp_path / "parts")
    assert rest.losses == whole.losses
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_milestones_see_the_untrained_and_the_finished_model(tmp_path: Path) -> None:
    seen: list[int] = []
    train(
        _model(),
        _loss_of,
        _batch_at,
        PLAN,
        scratch=tmp_path,
        milestones=(0, 3, 7),
        at_milestone=lambda step, _: seen.append(step),
    )
    assert seen == [0, 3, 7]


def test_rate_follows_its_line() -> None:
    rates = [PLAN.rate_at(PLAN.progress(step, seconds=1e9)) for step in range(7)]
    assert rates == pytest.approx([0.05, 0.1, 0.08, 0.06, 0.04, 0.02, 0.0])


def test_the_clock_carries_a_slow_run_to_the_end_of_its_line() -> None:
    hurried = replace(PLAN, minutes=2.0)
    assert hurried.progress(0, seconds=60.0) == 0.5
    assert hurried.progress(6, seconds=60.0) == 6 / 7
    assert hurried.progress(1, seconds=121.0) == 1.0
    assert hurried.rate_at(1.0) == 0.0


def test_a_run_out_of_time_stops_and_keeps_what_it_has(tmp_path: Path) -> None:
    hurried = replace(PLAN, minutes=0.001)

    def slow_batch_at(step: int) -> Batch:
        time.sleep(0.02)
        return _batch_at(step)

    outcome = train(_model(), _loss_of, slow_batch_at, hurried, scratch=tmp_path)
    assert 1 <= len(outcome.losses) < PLAN.steps
    again = train(_model(), _loss_of, slow_batch_at, hurried, scratch=tmp_path)
    assert again.losses == outcome.losses


def test_loss_curve_holds_means_of_stretches(tmp_path: Path) -> None:
    write_loss_curve([4.0, 2.0, 1.0, 3.0, 0.0, 1.0], tmp_path / "loss.csv", points=3)
    assert (tmp_path / "loss.csv").read_text().split() == ["step,loss", "2,3.0000", "4,2.0000", "6,0.5000"]


def test_repeated_random_tokens_repeat_and_leave_out_special_ones() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        tokens, block = repeated_random(generator, 97, 255)
        assert len(tokens) == 255
        assert tokens.min() >= 2
        np.testing.assert_array_equal(tokens[block:], tokens[:-block])


def test_repeated_span_holds_a_span_twice() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        repeated = repeated_span(generator, np.arange(255))
        assert len(repeated) == 255
        assert 8 <= 255 - len(set(repeated.tolist())) < 85
