"""The compiled pass against the plain one and the slow reference, on sites of every form."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given

from attention_analyzer.errors import CaptureError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.cpu import compiled, fused
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import (
    Distance,
    Entropy,
    GroupWeight,
    LargestWeight,
    MatchWeight,
    OffsetWeight,
    ReceivedWeight,
    Reduction,
    SmallestWeight,
    Statistics,
    StrongestKey,
    TotalWeight,
    WindowWeight,
)
from attention_analyzer.weights.scores import ScoreSource
from tests.kernels.sites import GROUPS, SiteCase, long_case, sites
from tests.property_tests import cases
from tests.reference import metrics as slow_metrics

needs_compiler = pytest.mark.skipif(
    compiled.row_pass().library is None, reason=f"no compiled pass: {compiled.row_pass().reason}"
)
ALL: tuple[Reduction, ...] = (
    Entropy(),
    LargestWeight(),
    SmallestWeight(),
    TotalWeight(),
    *(OffsetWeight(offset) for offset in (-3, -1, 0, 1, 100)),
    WindowWeight(0),
    WindowWeight(2),
    *(GroupWeight(name) for name in GROUPS),
    Distance(),
    ReceivedWeight(),
    *(MatchWeight(name, among) for name in ("few", "many") for among in ("all", "other", "earlier")),
)
METRIC_NEEDS = needs_of(METRICS)


def plain(case: SiteCase, reductions: tuple[Reduction, ...] = ALL) -> Statistics:
    """The same request, block by block in PyTorch."""

    class Blocked(QueryKeyWeights):
        gather = AttentionWeights.gather

    return Blocked(case.source).reduce(reductions, **case.frame)


def compiled_pass(case: SiteCase, reductions: tuple[Reduction, ...] = ALL) -> Statistics:
    assert fused.why_not(case.source, reductions) is None
    return QueryKeyWeights(case.source).reduce(reductions, **case.frame)


def assert_same(found: Statistics, expected: Statistics, tolerance: float = 1e-5) -> None:
    assert torch.equal(found.valid, expected.valid)
    for reduction, values in expected.values.items():
        counts = expected.valid if reduction.axis == "query" else torch.tensor(True)
        result, wanted = (torch.where(counts, part, 0) for part in (found[reduction], values))
        torch.testing.assert_close(
            result, wanted, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda text, r=reduction: f"{r}: {text}"
        )


@needs_compiler
@cases(150)
@given(sites(half=True))
def test_equals_the_plain_pass(case: SiteCase) -> None:
    assert_same(compiled_pass(case), plain(case))


@needs_compiler
@cases(40)
@given(sites())
def test_every_metric_equals_the_slow_reference(case: SiteCase) -> None:
    found = evaluate(compiled_pass(case, METRIC_NEEDS), METRICS)
    for text in range(case.source.batch):
        for head in range(case.source.heads):
            with np.errstate(invalid="ignore"):  # a text whose queries see nothing has shares of nothing
                expected = slow_metrics(case.head(text, head))
            for name, values in found.items():
                assert float(values[text, head]) == pytest.approx(expected[name], rel=1e-5, abs=1e-5, nan_ok=True), name


@needs_compiler
@pytest.mark.parametrize(
    "case",
    [
        long_case(1),
        long_case(64),
        long_case(1100),
        long_case(1100, upper=0),
        long_case(1100, lower=-130, upper=0),
        long_case(517, lower=-40, upper=77),
        long_case(3, keys=4500),
        long_case(70, keys=5000, upper=4930),
    ],
    ids=lambda case: f"{case.source.queries}x{case.source.keys}",
)
def test_long_rows_cross_every_tile(case: SiteCase) -> None:
    assert_same(compiled_pass(case), plain(case), 2e-5)


@needs_compiler
def test_the_strongest_key_is_the_first_of_equals() -> None:
    case = long_case(300, upper=0)
    found = compiled_pass(case, (StrongestKey(),))[StrongestKey()]
    torch.testing.assert_close(found, plain(case, (StrongestKey(),))[StrongestKey()], rtol=0, atol=0)
    ties = long_case(150)
    ties.source.query.zero_()
    assert float(compiled_pass(ties, (StrongestKey(),))[StrongestKey()].max()) == 0


@needs_compiler
def test_huge_scores_neither_overflow_nor_lose_the_row() -> None:
    case = long_case(130)
    case.source.query.mul_(300)
    found = compiled_pass(case)
    assert bool(torch.isfinite(found[Entropy()]).all())
    assert_same(found, plain(case), 2e-3)  # the plain pass takes the entropy as a difference of scores in the thousands


@needs_compiler
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    case = long_case(1100)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(compiled_pass(case))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for reduction in ALL:
            assert torch.equal(results[0][reduction].nan_to_num(-1), other[reduction].nan_to_num(-1)), reduction


@needs_compiler
def test_many_callers_at_once_do_not_disturb_each_other() -> None:
    cases = [long_case(200 + 7 * number, seed=number) for number in range(8)]
    alone = [compiled_pass(case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(compiled_pass, cases))
    for one, other in zip(alone, together, strict=True):
        assert_same(other, one, 0)


@needs_compiler
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["query", "key"])
def test_a_weight_that_is_not_finite_is_reported(value: float, part: str) -> None:
    case = long_case(70)
    getattr(case.source, part)[0, 1, 33, 2] = value
    with pytest.raises(CaptureError, match="NaN or infinite"):
        QueryKeyWeights(case.source).reduce([Entropy()])


@needs_compiler
def test_without_openmp_it_starts_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    case = long_case(600)
    expected = compiled_pass(case)
    monkeypatch.setattr(fused, "openmp_parallel", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_same(compiled_pass(case), expected, 0)


def test_nothing_of_the_callers_is_written_to() -> None:
    case = long_case(90)
    query, key = case.source.query.clone(), case.source.key.clone()
    QueryKeyWeights(case.source).reduce(ALL, **case.frame)
    assert torch.equal(query, case.source.query)
    assert torch.equal(key, case.source.key)


class Unknown(Entropy):
    pass


def test_what_it_cannot_do_is_left_to_the_plain_pass_with_a_reason() -> None:
    case = long_case(20)
    reason = fused.why_not(case.source, [Unknown()])
    assert reason is not None
    assert "Unknown" in reason
    expected = plain(case, (Entropy(),))[Entropy()]
    torch.testing.assert_close(QueryKeyWeights(case.source).reduce([Unknown()])[Unknown()], expected)
    doubles = ScoreSource(case.source.query.double(), case.source.key.double(), 0.3, case.source.visibility)
    assert "float64" in str(fused.why_not(doubles, [Entropy()]))


PROGRAM = "from attention_analyzer.weights.cpu.compiled import row_pass; print(row_pass().reason)"


def reason_in_a_new_process(**environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_it_can_be_turned_off() -> None:
    assert "turned off by ATTENTION_ANALYZER_KERNEL" in reason_in_a_new_process(ATTENTION_ANALYZER_KERNEL="off")


def test_without_a_compiler_the_reason_says_so(tmp_path: Path) -> None:
    assert "No C++ compiler" in reason_in_a_new_process(PATH=str(tmp_path), ATTENTION_ANALYZER_KERNEL=str(tmp_path))


def test_a_compiler_that_fails_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "g++"
    broken.parent.mkdir()
    broken.write_text(
        f'#!{shutil.which("sh")}\ncase "$1" in --version) echo 1;; *) echo no such flag >&2; exit 1;; esac\n'
    )
    broken.chmod(0o755)
    kept = tmp_path / "kept"
    reason = reason_in_a_new_process(PATH=str(broken.parent), ATTENTION_ANALYZER_KERNEL=str(kept))
    assert "could not be built" in reason
    assert "no such flag" in reason
    assert list(kept.iterdir()) == []


@needs_compiler
def test_two_processes_may_build_it_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        reasons = list(pool.map(lambda _: reason_in_a_new_process(ATTENTION_ANALYZER_KERNEL=str(tmp_path)), range(2)))
    assert all("is used" in reason for reason in reasons)
    assert len(list(tmp_path.iterdir())) == 1
