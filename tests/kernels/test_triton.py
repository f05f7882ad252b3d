"""The GPU kernels, run by Triton's interpreter on the CPU, against the plain pass and the slow reference."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from attention_analyzer.errors import InputError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate
from attention_analyzer.weights.gather import as_statistics
from attention_analyzer.weights.gpu import launch
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Axes, Entropy, GroupWeight, LargestWeight, Reduction, Statistics
from tests.kernels.sites import SiteCase, long_case, sites
from tests.kernels.test_row_pass import ALL, METRIC_NEEDS, assert_same, plain
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


def kernel(case: SiteCase, reductions: tuple[Reduction, ...] = ALL) -> Statistics:
    return ByTriton(case.source).reduce(reductions, **case.frame)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sites(half=True))
def test_equals_the_plain_pass(case: SiteCase) -> None:
    assert_same(kernel(case), plain(case))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


def test_more_groups_than_it_takes_are_left_to_the_plain_pass_with_a_reason() -> None:
    case = long_case(4)
    assert "groups" in str(launch.problem(case.source, [GroupWeight(str(number)) for number in range(40)]))
    assert launch.why_not(case.source, [Entropy()]) == "The GPU kernel is for CUDA; this site is on cpu."
    with pytest.raises(InputError, match="No key group is named 'absent'"):
        kernel(case, (GroupWeight("absent"),))
