"""Numbers of layers, heads and positions: bounded before anything is built of them, and from the end if negative."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import CaptureError, InputError, SelectionError
from attention_analyzer.interventions.edges import KnockOut, edges_of
from attention_analyzer.interventions.selection import select_heads
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Site

SITES = [Site("decoder", "self", layer, 5) for layer in range(3)]


@pytest.mark.parametrize(
    "selector", ["L0-1000000000", "L0H0-999999999999", "L7", "L-4", "L0H-6", "L0H5", (0, 5), (-4, 0)]
)
def test_what_is_not_there_is_refused_at_once(selector: str | tuple[int, int]) -> None:
    began = time.perf_counter()
    with pytest.raises(SelectionError, match="There is no"):
        select_heads(selector, SITES)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("selector", ["L" + "9" * 5000, "L" + "0," * 100_000 + "0"])
def test_lists_that_nobody_writes_are_refused_at_once(selector: str) -> None:
    with pytest.raises(InputError):
        select_heads(selector, SITES)


def test_negative_numbers_count_from_the_end() -> None:
    assert select_heads("L-1H-2", SITES) == select_heads("L2H3", SITES) == select_heads((-1, -2), SITES)
    assert select_heads("L-2--1H0", SITES) == select_heads("L1-2H0", SITES)
    edges = edges_of(KnockOut.of("L0H0:-1>0,-2"), 7, 7)
    assert edges.queries.nonzero().flatten().tolist() == [6]
    assert edges.keys.nonzero().flatten().tolist() == [0, 5]
    record = AttentionAnalyzer("demo-encoder", cache=False).record("The cat sat.")
    last = record.sites[-1].layer
    torch.testing.assert_close(record.weights(-1, -1), record.weights(last, record.sites[-1].heads - 1))
    with pytest.raises(SelectionError):
        record.weights(-99)


@pytest.mark.parametrize("edge", ["L0H0:0-1000000000>0", "L0H0:0>0-1000000000", "L0H0:-8>0"])
def test_positions_are_bounded_before_they_are_built(edge: str) -> None:
    began = time.perf_counter()
    with pytest.raises(SelectionError, match="There is no"):
        edges_of(KnockOut.of(edge), 7, 7)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("positions", [range(10**9), range(10**9, 0, -1)])
def test_runs_given_as_ranges_are_bounded_too(positions: range) -> None:
    began = time.perf_counter()
    with pytest.raises(SelectionError, match="There is no query") as refused:
        edges_of(KnockOut("L0H0", positions, 0), 7, 7)
    assert time.perf_counter() - began < 1
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("selector", ["L0," * 5000, "L" + "0," * 5000, "L7H" + "0," * 5000])
def test_errors_show_the_first_of_what_is_long(selector: str) -> None:
    with pytest.raises((InputError, SelectionError)) as refused:
        select_heads(selector, SITES)
    assert len(str(refused.value)) < 400


def test_an_interrupt_while_modes_are_switched_leaves_all_of_them_in_training() -> None:
    class Slow(nn.Linear):
        def train(self, mode: bool = True) -> nn.Module:
            if not mode:
                raise KeyboardInterrupt
            return super().train(mode)

    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2), Slow(2, 2), nn.Dropout()).train()
    with pytest.raises(KeyboardInterrupt), LoadedModel(model).evaluating():
        pass
    assert all(module.training for module in model.modules())


def test_a_model_that_predicts_nan_is_refused() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    with torch.no_grad():
        list(analyzer.model.parameters())[-1].view(-1)[0] = torch.nan
    with pytest.raises(CaptureError, match="NaN"):
        analyzer.what_if("The cat sat on the mat.", ablate="L0H0")
