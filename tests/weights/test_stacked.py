"""Sites that are reduced together give what each gives alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer.errors import CaptureError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.weights import stacked
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Entropy, ReceivedWeight
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.stacked import Task, is_small, reduce_together
from attention_analyzer.weights.visibility import Visibility
from tests.kernels.sites import SiteCase, sites
from tests.property_tests import cases

NEEDS = needs_of(METRICS)
FEW = (Entropy(), ReceivedWeight())


def task_of(case: SiteCase, seed: int, scale: float = 1.0) -> Task:
    """A site of the same form with other queries and keys."""
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(part.shape, generator=generator) * scale for part in (case.source.query, case.source.key))
    return Task(QueryKeyWeights(replace(case.source, query=query, key=key)), **case.frame)


@cases(60)
@given(case=sites(), count=st.integers(1, 5), seed=st.integers(0, 99))
def test_together_as_alone(case: SiteCase, count: int, seed: int) -> None:
    tasks = [task_of(case, seed + number) for number in range(count)]
    together = reduce_together(tasks, NEEDS)
    for task, found in zip(tasks, together, strict=True):
        alone = task.reduce(NEEDS)
        for need in NEEDS:
            torch.testing.assert_close(found[need], alone[need], rtol=2e-5, atol=2e-6, equal_nan=True)
        ours, theirs = evaluate(found, METRICS), evaluate(alone, METRICS)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=2e-5, atol=2e-5, equal_nan=True)


@cases(30)
@given(case=sites())
def test_sites_of_other_forms_keep_their_order(case: SiteCase) -> None:
    other = replace(case.source, scaling=case.source.scaling * 2)
    tasks = [task_of(case, 1), Task(QueryKeyWeights(other), **case.frame), task_of(case, 2)]
    for task, found in zip(tasks, reduce_together(tasks, NEEDS), strict=True):
        alone = task.reduce(NEEDS)
        for need in NEEDS:
            torch.testing.assert_close(found[need], alone[need], rtol=2e-5, atol=2e-6, equal_nan=True)


def simple(seed: int, tokens: int = 7) -> Task:
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(1, 2, tokens, 3, generator=generator) for _ in range(2))
    return Task(QueryKeyWeights(ScoreSource(query, key, 1.0, Visibility(tokens, tokens))))


def test_one_pass_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    reduce = Task.reduce
    monkeypatch.setattr(Task, "reduce", lambda task, needs: passes.append(task.weights.batch) or reduce(task, needs))
    reduce_together([simple(number) for number in range(5)], FEW)
    assert passes == [5]


def test_a_big_site_is_reduced_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_small(simple(0).weights)
    monkeypatch.setattr(stacked, "SMALL", 100)
    assert not is_small(simple(0).weights)
    first, second = reduce_together([simple(0), simple(1)], FEW)
    assert first.whole is None and second.whole is None


def test_a_site_that_is_not_finite_is_refused() -> None:
    broken = simple(1)
    assert isinstance(broken.weights, QueryKeyWeights)
    broken.weights.source.query[0, 1, 2] = torch.nan
    with pytest.raises(CaptureError, match="NaN or infinite"):
        reduce_together([simple(0), broken], FEW)
