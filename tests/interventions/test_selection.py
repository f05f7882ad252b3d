"""Heads and edges by name, and what is said where a name is wrong."""

from __future__ import annotations

import pytest
import torch

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.interventions.edges import KnockOut, edges_of
from attention_analyzer.interventions.selection import head_name, select_heads
from attention_analyzer.site import Site

ENCODER = [Site("encoder", "self", layer, 5) for layer in range(3)]
TWO_STACKS = ENCODER + [Site("decoder", kind, layer, 5) for layer in range(3) for kind in ("self", "cross")]


def chosen(selectors: object, sites: list[Site] = ENCODER) -> list[str]:
    return [head_name(head, sites) for head in select_heads(selectors, sites)]  # type: ignore[arg-type]


def test_heads_by_name() -> None:
    assert chosen("L2H4") == ["L2H4"]
    assert chosen((2, 4)) == ["L2H4"]
    assert chosen(["L2H4", (0, 1), "L2H3-4"]) == ["L0H1", "L2H3", "L2H4"]
    assert chosen("L1") == [f"L1H{head}" for head in range(5)]
    assert chosen("L0,2H1,3") == ["L0H1", "L0H3", "L2H1", "L2H3"]
    assert len(chosen("*")) == 15
    assert chosen([]) == []


def test_places() -> None:
    assert chosen("L1H0", TWO_STACKS) == ["encoder.self.L1H0"]
    assert chosen("cross.L1H0", TWO_STACKS) == ["decoder.cross.L1H0"]
    assert chosen("decoder.self.L1H0", TWO_STACKS) == ["decoder.self.L1H0"]
    assert len(chosen("decoder.*", TWO_STACKS)) == 30
    assert len(chosen("*", TWO_STACKS)) == 45
    with pytest.raises(SelectionError, match=r"write decoder\.self\.L1 or decoder\.cross\.L1"):
        chosen("decoder.L1H0", TWO_STACKS)
    with pytest.raises(SelectionError, match=r"no attention at 'vision'.*encoder\.self"):
        chosen("vision.L1H0", TWO_STACKS)


@pytest.mark.parametrize(
    ("selector", "error", "message"),
    [
        ("L3H0", SelectionError, r"no layer 3 .*0 to 2"),
        ("L2H5", SelectionError, r"no head 5 in encoder\.self\.2 .*0 to 4"),
        ("2.4", InputError, "names no head"),
        ("L2H", InputError, "names no head"),
        ("L4-2", InputError, "ends before it begins"),
        ("L1,,2", InputError, "no list of numbers"),
        ([3], InputError, "names no head"),
        ([(1, 2, 3)], InputError, "names no head"),
    ],
)
def test_wrong_names(selector: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chosen(selector)


def cells(edge: str | KnockOut, queries: int = 7, keys: int = 5) -> list[tuple[int, int]]:
    removed = edges_of(KnockOut.of(edge), queries, keys).removed(slice(0, queries))
    return [(query, key) for query, key in removed.nonzero().tolist()]


def test_edges_by_name() -> None:
    assert KnockOut.of("L2H4:6>3") == KnockOut("L2H4", "6", "3")
    assert cells("L2H4:6>3") == cells("L2H4:6:3") == [(6, 3)]
    assert cells("L2:1,3-4>0,last") == [(1, 0), (1, 4), (3, 0), (3, 4), (4, 0), (4, 4)]
    assert cells("L2:*>0") == [(query, 0) for query in range(7)]
    assert cells(KnockOut("L2", -1, [0, 2])) == [(6, 0), (6, 2)]
    assert torch.equal(edges_of(KnockOut("L2", "*", "*"), 7, 5).removed(slice(2, 4)), torch.ones(2, 5).bool())


@pytest.mark.parametrize(
    ("edge", "error", "message"),
    [
        ("L2H4:7>3", SelectionError, r"no query 7 \('L2H4:7>3'\); there are 7, from 0 to 6"),
        ("L2H4:6>5", SelectionError, r"no key 5"),
        ("L2H4", InputError, "names no edge"),
        ("L2H4:3", InputError, "quoted in a shell"),
        ("L2H4:3>", InputError, "names no edge"),
        ("L2H4:x>3", InputError, "no list of numbers"),
        (KnockOut("L2", 1.5, 0), InputError, "whole number"),  # type: ignore[arg-type]
        (7, InputError, "not int"),
    ],
)
def test_wrong_edges(edge: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cells(edge)
