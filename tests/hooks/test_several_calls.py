"""Modules that attend more than once in one forward: parts of one attention, or attention anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.hooks.session import Capture, capturing
from attention_analyzer.site import Site

BATCH, HEADS, QUERIES, CHANNELS = 2, 3, 7, 5


class Attention(nn.Module):
    """Torch's own attention through the library's interface, which it asks in either way."""

    by_name = False

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        name = "sdpa"
        function = ALL_ATTENTION_FUNCTIONS[name] if self.by_name else ALL_ATTENTION_FUNCTIONS.get_interface(name, max)
        return function(self, query, key, value, mask, is_causal=False)[0]


class OutsideAttention(nn.Module):
    """Attention of its own making."""

    num_heads = HEADS

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return weights_of(query, key, mask) @ value


class Model(nn.Module):
    """One layer that attends as often as it is given queries, keys, values and a mask."""

    config = SimpleNamespace(num_hidden_layers=1)

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList([attention])

    def forward(self, input_ids: Tensor, calls: list[tuple[Tensor, Tensor, Tensor, Tensor | None]]) -> list[Tensor]:
        return [self.layers[0](*call) for call in calls]


def weights_of(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(CHANNELS)
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)


def random(seed: int) -> Tensor:
    return torch.randn(BATCH, HEADS, QUERIES, CHANNELS, generator=torch.Generator().manual_seed(seed))


def random_mask(seed: int) -> Tensor:
    seen = torch.rand(BATCH, 1, QUERIES, QUERIES, generator=torch.Generator().manual_seed(seed)) > 0.4
    return seen | torch.eye(QUERIES, dtype=torch.bool)


def sites_of(
    attention: nn.Module,
    calls: list[tuple[Tensor, Tensor, Tensor, Tensor | None]],
    keep: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    inputs = {"input_ids": torch.ones(BATCH, QUERIES, dtype=torch.long), "calls": calls}
    captured = capture_forward(Model(attention), inputs, valid=None, keep=keep)
    return {site.name: kept for site, kept in captured.sites}


@pytest.mark.parametrize("kind", [Attention, OutsideAttention])
def test_attending_anew_is_a_site_of_its_own(kind: type[nn.Module]) -> None:
    calls = [(random(3), random(5), random(7), random_mask(11)), (random(13), random(17), random(19), random_mask(23))]
    recorded = sites_of(kind(), calls)
    streamed = sites_of(kind(), calls, keep=lambda _, weights: weights.tile(1, slice(0, HEADS), slice(0, QUERIES)))
    assert list(recorded) == list(streamed) == ["encoder.self.0", "encoder-2.self.0"]
    for name, (query, key, _, mask) in zip(recorded, calls, strict=True):
        expected = weights_of(query, key, mask)[1]
        torch.testing.assert_close(recorded[name].tile(1, slice(0, HEADS), slice(0, QUERIES)), expected)
        torch.testing.assert_close(streamed[name], expected)


@pytest.mark.parametrize("kind", [Attention, OutsideAttention])
@pytest.mark.parametrize("mask", [None, random_mask(11)])
def test_attention_that_is_applied_to_other_values_is_one_site(kind: type[nn.Module], mask: Tensor | None) -> None:
    query, key = random(3), random(5)
    recorded = sites_of(kind(), [(query, key, random(7), mask), (query, key, random(11), mask)])
    assert list(recorded) == ["encoder.self.0"]
    shown = recorded["encoder.self.0"]
    assert shown.shape == (HEADS, QUERIES, QUERIES)
    expected = weights_of(query, key, mask)[0]
    torch.testing.assert_close(shown.tile(0, slice(0, HEADS), slice(0, QUERIES)), expected)


def test_chunks_that_are_alike_are_still_two() -> None:
    query, key, value = random(3), random(5), random(7)
    recorded = sites_of(Attention(), [(query, key, value, None), (query.clone(), key.clone(), value, None)])
    assert list(recorded) == ["encoder.self.0"]
    assert recorded["encoder.self.0"].shape == (HEADS, 2 * QUERIES, 2 * QUERIES)


@pytest.mark.parametrize("by_name", [False, True])
def test_the_interface_is_heard_once_however_it_is_asked(by_name: bool) -> None:
    attention = Attention()
    attention.by_name = by_name
    model = Model(attention)
    capture: Capture[Any] = Capture(model, keep=lambda _, weights: weights)
    with capturing(capture):
        model(torch.ones(BATCH, QUERIES), [(random(3), random(5), random(7), None)])
    assert capture.at_interface == capture.calls == 1
    assert "listening" not in ALL_ATTENTION_FUNCTIONS["sdpa"].__qualname__


def test_a_site_knows_its_tower() -> None:
    assert Site("decoder-2", "self", 3, HEADS).tower == Site("decoder", "self", 3, HEADS).tower == "decoder"
