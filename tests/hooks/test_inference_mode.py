"""Inference mode, which some models enter by themselves: operations come in one piece, and tensors count no changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attention_analyzer.hooks.calls import score_source
from attention_analyzer.hooks.forward import batch_of, capture_forward
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.hooks.verification import run_alone, same_bits
from tests.hooks.small import BACKENDS, inputs_of, make


@pytest.mark.parametrize(("form", "backend"), BACKENDS)
def test_the_same_is_heard_as_outside_of_it(form: str, backend: str) -> None:
    expected = capture_forward(make(form, backend), inputs_of(form), valid=None)
    model = make(form, backend)
    with torch.inference_mode():
        alone = run_alone(model, inputs_of(form))
        found = capture_forward(model, inputs_of(form), valid=None)
    assert same_bits(alone, found.outputs)
    assert found.exact == expected.exact
    assert [site for site, _ in found.sites] == [site for site, _ in expected.sites]
    for (_, mine), (_, theirs) in zip(found.sites, expected.sites, strict=True):
        assert torch.equal(mine.full(), theirs.full())


def test_a_mask_that_changes_in_place_is_read_again() -> None:
    numbers = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        query, key = (torch.randn(2, 5, size, 4, generator=numbers) for size in (7, 11))
        mask = torch.rand(2, 1, 7, 11, generator=numbers) > 0.5
        call = AttentionCall(nn.Module(), "attention", "sdpa", query, key, key, mask, {})
        reader = MaskReader()
        first, again = score_source(call, reader).visibility, score_source(call, reader).visibility
        assert again is first
        mask.logical_not_()
        changed = score_source(call, reader).visibility
    cells = (slice(0, 7), slice(0, 11), slice(0, 2), torch.device("cpu"))
    before, after = first.seen(*cells), changed.seen(*cells)
    assert before is not None
    assert after is not None
    assert torch.equal(before, ~after)


def test_a_session_is_of_one_film() -> None:
    assert batch_of({"inference_session": object(), "frame_idx": 1}) == 1
    assert batch_of({"inference_session": object(), "frame": torch.ones(3, 8, 8)}) == 1
    assert batch_of({"pixel_values": torch.ones(2, 3, 8, 8)}) == 2
