"""The GPU kernels, run by Triton's interpreter on the CPU, against the plain pass and the slow reference."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from attention_analyzer.errors import CaptureError, InputError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.gather import as_statistics
from attention_analyzer.weights.gpu import launch
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import (
    Axes,
    Entropy,
    GroupWeight,
    LargestWeight,
    ReceivedWeight,
    Reduction,
    Statistics,
    StrongestKey,
    WeightedColumnSum,
)
from tests.kernels.sites import SiteCase, long_case, sites
from tests.kernels.test_row_pass import ALL, METRIC_NEEDS, assert_same, plain
from tests.property_tests import cases
from tests.reference import metrics as slow_metrics

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET is 0: the kernels run on a GPU only"
    ),
    # Triton's interpreter computes with NumPy, which says so when hidden scores overflow or empty rows divide.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class ByTriton(QueryKeyWeights):
    """What :class:`QueryKeyWeights` does on a GPU, wherever it is."""

    def gather(self, reductions: tuple[Reduction, ...], axes: Axes) -> Statistics:
        wanted = dict.fromkeys([*reductions, LargestWeight()])
        assert launch.problem(self.source, wanted) is None
        return as_statistics(launch.gpu_gather(self.source, wanted, axes), axes)


class Blocked(QueryKeyWeights):
    gather = AttentionWeights.gather


def kernel(case: SiteCase, reductions: tuple[Reduction, ...] = ALL) -> Statistics:
    return ByTriton(case.source).reduce(reductions, **case.frame)


@cases(40)
@given(sites(half=True))
def test_equals_the_plain_pass(case: SiteCase) -> None:
    assert_same(kernel(case), plain(case))


@cases(12)
@given(sites())
def test_every_metric_equals_the_slow_reference(case: SiteCase) -> None:
    found = evaluate(kernel(case, METRIC_NEEDS), METRICS)
    for text in range(case.source.batch):
        for head in range(case.source.heads):
            with np.errstate(invalid="ignore"):
                expected = slow_metrics(case.head(text, head))
            for name, values in found.items():
                assert float(values[text, head]) == pytest.approx(expected[name], rel=1e-5, abs=1e-5, nan_ok=True), name


@pytest.mark.parametrize(
    "case",
    [
        long_case(200),
        long_case(150, upper=0),
        long_case(150, lower=-70, upper=0),
        long_case(130, lower=-3, upper=33),
        long_case(130, lower=-3, upper=90),
        long_case(3, keys=300),
        long_case(70, keys=200, upper=130),
    ],
    ids=lambda case: f"{case.source.queries}x{case.source.keys}",
)
def test_rows_and_columns_cross_every_tile(case: SiteCase) -> None:
    assert_same(kernel(case), plain(case))


def with_nan(case: SiteCase) -> SiteCase:
    query = case.source.query.clone()
    query[0, 2, 5, 1] = torch.nan
    return replace(case, source=replace(case.source, query=query))


def test_a_weight_that_is_not_finite_is_never_a_number() -> None:
    with pytest.raises(CaptureError, match="NaN or infinite"):
        kernel(with_nan(long_case(40, upper=0)), (Entropy(),))


@pytest.mark.parametrize("band", [{}, {"upper": 0}, {"lower": -50, "upper": 20}], ids=["all", "causal", "window"])
def test_the_strongest_key_is_that_of_the_plain_pass(band: dict) -> None:
    case, wanted = long_case(150, **band), StrongestKey()
    assert torch.equal(kernel(case, (wanted,))[wanted], plain(case, (wanted,))[wanted])


def test_column_sums_with_factors_equal_the_plain_pass() -> None:
    case = long_case(100, upper=0)
    numbers = torch.Generator().manual_seed(3)
    frame = {**case.frame, "factors": {"some": torch.rand(1, 100, generator=numbers), "none": torch.zeros(1, 100)}}
    wanted = (WeightedColumnSum("some"), WeightedColumnSum("none"), ReceivedWeight())
    expected = Blocked(case.source).reduce(wanted, **frame)
    assert_same(ByTriton(case.source).reduce(wanted, **frame), expected)
    assert float(expected[wanted[0]].max()) > 0.1


@pytest.mark.parametrize("count", [15, 16, 63, 64, 130])
def test_any_number_of_groups(count: int) -> None:
    case = long_case(40, upper=0)
    groups = {str(number): torch.arange(40)[None] % (number + 2) == 0 for number in range(count)}
    frame = {**case.frame, "groups": groups}
    wanted = tuple(GroupWeight(name) for name in groups)
    assert_same(ByTriton(case.source).reduce(wanted, **frame), Blocked(case.source).reduce(wanted, **frame))


def test_what_the_kernel_does_not_take_is_left_to_the_plain_pass_with_a_reason() -> None:
    case = long_case(4)
    assert launch.why_not(case.source, [Entropy()]) == "The GPU kernel is for CUDA; this site is on cpu."
    assert "scales them by -0.5" in str(launch.problem(replace(case.source, scaling=-0.5), [Entropy()]))
    assert "float64" in str(launch.problem(replace(case.source, query=case.source.query.double()), [Entropy()]))
    with pytest.raises(InputError, match="No key group is named 'absent'"):
        kernel(case, (GroupWeight("absent"),))
