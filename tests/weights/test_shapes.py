"""No pass runs over a source or a frame whose sizes do not fit each other, wherever it comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attention_analyzer.errors import InputError
from attention_analyzer.weights.bias import DenseBias, RelativeBias
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import Entropy, GroupWeight, MatchWeight
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

QUERIES, KEYS = 5, 7


def source(**changes: object) -> ScoreSource:
    whole = ScoreSource(torch.rand(2, 6, QUERIES, 8), torch.rand(2, 2, KEYS, 8), 0.3, Visibility(QUERIES, KEYS))
    return replace(whole, **changes)  # type: ignore[arg-type]


def seen(**parts: object) -> Visibility:
    return Visibility(QUERIES, KEYS, **parts)  # type: ignore[arg-type]


UNFIT = {
    "keys of fewer channels": {"key": torch.rand(2, 2, KEYS, 7)},
    "no key heads": {"key": torch.rand(2, 0, KEYS, 8)},
    "four key heads for six": {"key": torch.rand(2, 4, KEYS, 8)},
    "keys of another batch": {"key": torch.rand(1, 2, KEYS, 8)},
    "whole numbers": {"query": torch.ones(2, 6, QUERIES, 8, dtype=torch.int64)},
    "three axes": {"query": torch.rand(6, QUERIES, 8)},
    "sinks of three heads": {"sinks": torch.rand(3)},
    "sinks of other rows": {"sinks": torch.rand(2, 6, QUERIES + 1)},
    "a small bias": {"bias": DenseBias(torch.rand(1, 1, 2, 2))},
    "a bias of whole numbers": {"bias": DenseBias(torch.ones(1, 1, QUERIES, KEYS, dtype=torch.int32))},
    "diagonals that end": {"bias": RelativeBias(torch.rand(6, 11), 400, QUERIES, KEYS)},
    "diagonals far away": {"bias": RelativeBias(torch.rand(6, 11), 10**9, QUERIES, KEYS)},
    "diagonals that begin late": {"bias": RelativeBias(torch.rand(6, 11), 3, QUERIES, KEYS)},
    "diagonals of other heads": {"bias": RelativeBias(torch.rand(3, 11), 4, QUERIES, KEYS)},
    "visibility of more keys": {"visibility": Visibility(QUERIES, KEYS + 1)},
    "a band beyond everything": {"visibility": seen(lower=2**70)},
    "a band between": {"visibility": seen(upper=0.5)},
    "a mask of other heads": {"visibility": seen(mask=torch.ones(1, 5, QUERIES, KEYS, dtype=torch.bool))},
    "a mask of numbers": {"visibility": seen(mask=torch.ones(1, 1, QUERIES, KEYS))},
    "a short key mask": {"visibility": seen(key_seen=torch.ones(2, KEYS - 1, dtype=torch.bool))},
    "segments of queries only": {"visibility": seen(segments=(torch.zeros(2, QUERIES).long(),) * 2)},
    "a scaling that is no number": {"scaling": float("nan")},
    "a softcap of zero": {"softcap": 0.0},
}


@pytest.mark.parametrize("what", UNFIT)
def test_parts_that_do_not_fit_are_refused(what: str) -> None:
    QueryKeyWeights(source())
    with pytest.raises(InputError):
        QueryKeyWeights(source(**UNFIT[what]))


FRAMES = {
    "a short group": ({"groups": {"some": torch.ones(1, KEYS - 1, dtype=torch.bool)}}, GroupWeight("some")),
    "a group of numbers": ({"groups": {"some": torch.ones(1, KEYS)}}, GroupWeight("some")),
    "labels of other queries": (
        {"labels": {"some": (torch.zeros(1, QUERIES + 9).long(), torch.zeros(1, KEYS).long())}},
        MatchWeight("some"),
    ),
    "labels of other keys": (
        {"labels": {"some": (torch.zeros(1, QUERIES).long(), torch.zeros(3, KEYS).long())}},
        MatchWeight("some"),
    ),
    "a diagonal far away": ({"diagonal": 10**9}, Entropy()),
    "keys of another text": ({"key_valid": torch.ones(1, KEYS + 1, dtype=torch.bool)}, Entropy()),
}


@pytest.mark.parametrize("what", FRAMES)
def test_frames_that_do_not_fit_are_refused(what: str) -> None:
    frame, reduction = FRAMES[what]
    with pytest.raises(InputError):
        QueryKeyWeights(source()).reduce([reduction], **frame)  # type: ignore[arg-type]
