"""The GPU kernels on a GPU: ``TRITON_INTERPRET=0 pytest tests/kernels/test_on_gpu.py``."""

from __future__ import annotations

import os

import pytest
import torch

from attention_analyzer.weights.lazy import QueryKeyWeights
from tests.kernels.sites import long_case
from tests.kernels.test_row_pass import ALL, plain

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=0 runs kernels on the GPU"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("band", [{}, {"upper": 0}, {"lower": -70, "upper": 0}], ids=["all", "causal", "window"])
def test_the_kernels_are_chosen_by_themselves_and_equal_the_plain_pass(dtype: torch.dtype, band: dict) -> None:
    case = long_case(500, dtype=dtype, **band)
    weights = QueryKeyWeights(case.source.to("cuda"))
    assert weights.why_blocked(ALL) is None
    found, expected = weights.reduce(ALL, **case.frame), plain(case)
    for reduction in ALL:
        torch.testing.assert_close(found[reduction].cpu(), expected[reduction], rtol=2e-5, atol=2e-5, equal_nan=True)
