"""What a recipe says, and what recipes make their inputs from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.conformance.inputs import BATCH, find, image_size


@dataclass(frozen=True)
class Recipe:
    """How to build a type that does not build, or run, by itself.

    Attributes:
        why: what the automatic way cannot know.
        config: the configuration to shrink, from its class.
        after: changes to the shrunk configuration.
        model: the class to test, where the auto tables name none.
        inputs: keyword arguments of the forward, from the model and what was made automatically.
        steps: which steps of the ladder to try; all by default.
        backend: the attention implementation that others are compared with; "sdpa" where a type has no eager one.
    """

    why: str
    config: Callable[[type], Any] | None = None
    after: Callable[[Any], None] | None = None
    model: str | None = None
    inputs: Callable[[nn.Module, dict[str, Any]], Mapping[str, Any]] | None = None
    steps: tuple[int, ...] | None = None
    backend: str = "eager"


def sets(**values: Any) -> Callable[[Any], None]:
    """Sets fields of the shrunk configuration."""

    def after(config: Any) -> None:
        for name, value in values.items():
            setattr(config, name, value)

    return after


def within(part: str, **values: Any) -> Callable[[Any], None]:
    """Sets fields of a configuration within the shrunk one."""

    def after(config: Any) -> None:
        sets(**values)(getattr(config, part))

    return after


def makes(**makers: Callable[[Any], Any]) -> Callable[[nn.Module, dict[str, Any]], dict[str, Any]]:
    """Adds inputs, each made from the configuration; None takes one away."""

    def inputs(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
        added = {name: maker(model.config) for name, maker in makers.items()}
        return {name: value for name, value in (made | added).items() if value is not None}

    return inputs


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(11))


def numbers(highest: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, highest, shape, generator=torch.Generator().manual_seed(13))


def nothing(config: Any) -> None:
    """Takes an input away."""


SMALL_NET = {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.2}


def rotary_by_kind(config: Any) -> None:
    """A rotary base for each kind of layer, and one layer of each."""
    third = config.head_dim // 6
    rotary = {"rope_type": "default", "rope_theta": 10000.0}
    rotary["mrope_section"] = [config.head_dim // 2 - 2 * third, third, third]
    config.layer_types = ["sliding_attention", "full_attention"]
    config.rope_parameters = {kind: dict(rotary) for kind in config.layer_types}


def indexed(config: Any) -> None:
    """One key head for the indexer, and a budget shorter than the text."""
    sizes = {"n_heads": 2, "kv_heads": 1, "head_dim": config.head_dim, "budget": 8, "compress_ratio": 2}
    sets(**{f"indexer_{name}": size for name, size in sizes.items()})(config)


def image(config: Any, *before: int) -> torch.Tensor:
    """Noise as large as the model's images, with further axes after the first."""
    return noise(BATCH, *before, 3, *image_size(config))


def numbered_patches(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """4 × 4 flattened patches an image, with their number (SigLIP 2)."""
    width = 3 * int(find(model.config, "patch_size")) ** 2
    return made | {
        "pixel_values": noise(BATCH, 16, width),
        "pixel_attention_mask": torch.ones(BATCH, 16, dtype=torch.long),
        "spatial_shapes": torch.full((BATCH, 2), 4),
    }
