"""A vector taken through a layer, against the slow reference, block by block and for stored weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_analyzer.weights import block
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import ReceivedWeight, WeightedColumnSum
from tests.kernels.sites import SiteCase, sites
from tests.weights.test_plain_pass import property_test, stored

SUM = WeightedColumnSum("r")


@property_test
@given(sites(), st.booleans(), st.sampled_from([7, 500, 1 << 20]))
def test_weighted_column_sums_equal_the_slow_reference(case: SiteCase, shared: bool, cells: int) -> None:
    batch = 1 if shared else case.source.batch
    factors = torch.randn(batch, case.source.queries, generator=torch.Generator().manual_seed(1))
    for weights in (QueryKeyWeights(case.source), stored(case)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block, "CELLS_ON_CPU", cells)
            patch.setattr(block, "FEWEST_ROWS", 2)
            found = weights.reduce([SUM], **case.frame, factors={"r": factors})[SUM]
        for text in range(weights.batch):
            for number in range(weights.heads):
                head = case.head(text, number)
                r = factors[min(text, batch - 1)]
                expected = sum((float(r[i]) * head.weights[i] for i in head.rows), np.zeros(weights.keys))
                np.testing.assert_allclose(found[text, number].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_with_all_factors_one_it_is_what_keys_receive() -> None:
    from attention_analyzer import AttentionAnalyzer

    entry = AttentionAnalyzer("demo-decoder", cache=False).record("The cat sat on the mat.").entries[1]
    ones = torch.ones(1, len(entry.queries))
    found = entry.weights.reduce([SUM, ReceivedWeight()], factors={"r": ones})
    torch.testing.assert_close(found[SUM], found[ReceivedWeight()], rtol=1e-5, atol=1e-6)
