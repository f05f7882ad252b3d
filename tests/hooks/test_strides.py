"""Axes are found again after any views, permutations and copies, or are said to be lost; never confused."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attention_analyzer.hooks.strides import Axes
from tests.property_tests import cases


def changed(tensor: Tensor, axes: Axes, draw: random.Random) -> tuple[Tensor, Axes | None]:
    """One step that a model might take: another view, or a copy in some memory layout."""
    step = draw.random()
    if step < 0.4:
        return tensor.permute(*draw.sample(range(tensor.dim()), tensor.dim())), axes
    if step < 0.7:
        factor = draw.choice([size for size in (1, 2, 3, 4, 6) if tensor.numel() % size == 0])
        whole = tensor.contiguous() if draw.random() < 0.5 else tensor
        followed = axes if whole.data_ptr() == tensor.data_ptr() else axes.copied(tensor, whole)
        try:
            return whole.view(tensor.numel() // factor, factor), followed
        except RuntimeError:  # no view: the step is not taken
            return whole, followed
    copy = tensor.clone(memory_format=draw.choice([torch.contiguous_format, torch.preserve_format]))
    return copy, axes.copied(tensor, copy)


@cases(300)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_the_array_is_found_again(shape: list[int], draw: random.Random) -> None:
    size = int(torch.tensor(shape).prod())
    tensor = torch.arange(size).view(shape)
    axis = draw.randrange(len(shape))
    expected = tensor.movedim(axis, -1).clone()
    axes = Axes.of(tensor).last(axis)
    for _ in range(4):
        tensor, followed = changed(tensor, axes, draw)
        if followed is None:
            return
        axes = followed
    assert axes.shape == expected.shape
    assert torch.equal(axes.tensor(tensor), expected)


def test_the_usual_steps_of_attention_are_all_followed() -> None:
    weights = torch.arange(2 * 3 * 5 * 7).view(2, 3, 5, 7)
    axes = Axes.of(weights)
    moved = weights.permute(0, 2, 3, 1)
    copy = moved.contiguous()
    followed = axes.copied(moved, copy)
    assert followed is not None
    assert torch.equal(followed.tensor(copy), weights)
    product = copy.permute(0, 3, 1, 2).reshape(6, 5, 7)
    again = followed.copied(copy.permute(0, 3, 1, 2), product.view(2, 3, 5, 7))
    assert again is not None
    assert torch.equal(again.tensor(product), weights)


def test_a_part_and_an_expanded_array_are_not_the_array() -> None:
    weights = torch.rand(4, 5, 6)
    axes = Axes.of(weights)
    assert axes.split_along(weights[1:])[1] is None
    assert axes.split_along(weights[:, :, :1].expand(-1, -1, 6))[1] is None
    assert axes.split_along(weights.view(8, 15))[1] is None
