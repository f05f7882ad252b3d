"""What the automatic way cannot know: one small function a type, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.conformance.inputs import BATCH, GRID, TOKENS, find


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
    """

    why: str
    config: Callable[[type], Any] | None = None
    after: Callable[[Any], None] | None = None
    model: str | None = None
    inputs: Callable[[nn.Module, dict[str, Any]], dict[str, Any]] | None = None
    steps: tuple[int, ...] | None = None


def _sets(**values: Any) -> Callable[[Any], None]:
    """Sets fields of the shrunk configuration."""

    def after(config: Any) -> None:
        for name, value in values.items():
            setattr(config, name, value)

    return after


def _within(part: str, **values: Any) -> Callable[[Any], None]:
    """Sets fields of a configuration within the shrunk one."""

    def after(config: Any) -> None:
        _sets(**values)(getattr(config, part))

    return after


def _makes(**makers: Callable[[Any], Any]) -> Callable[[nn.Module, dict[str, Any]], dict[str, Any]]:
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


def _codebooks(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """One row of ids a codebook and text."""
    books = int(find(model.config, "num_codebooks"))
    return {"input_ids": numbers(100, BATCH * books, TOKENS)}


def _hybrid(config: Any) -> None:
    """Two state-space layers and one of attention."""
    config.num_hidden_layers = 3
    config.attn_layer_indices = [1]


RECIPES: dict[str, Recipe] = {
    "time_series_transformer": Recipe(
        "a forecaster's window has no default",
        config=lambda kind: kind(prediction_length=4, context_length=9, lags_sequence=[1, 2], num_time_features=1),
        inputs=lambda model, made: series(past=11, ahead=4),
    ),
    "informer": Recipe(
        "a forecaster's window has no default",
        config=lambda kind: kind(prediction_length=4, context_length=9, lags_sequence=[1, 2], num_time_features=1),
        inputs=lambda model, made: series(past=11, ahead=4),
    ),
    "autoformer": Recipe(
        "a forecaster's window has no default",
        config=lambda kind: kind(prediction_length=4, context_length=9, lags_sequence=[1, 2], num_time_features=1),
        inputs=lambda model, made: series(past=11, ahead=4),
    ),
    "bamba": Recipe("which layers attend is not said by default", after=_hybrid),
    "clvp": Recipe("takes speech features, too", inputs=_makes(input_features=lambda c: noise(BATCH, 80, 24))),
    "decision_transformer": Recipe(
        "takes states, actions and rewards",
        inputs=lambda model, made: {
            "states": noise(BATCH, 7, model.config.state_dim),
            "actions": noise(BATCH, 7, model.config.act_dim),
            "rewards": noise(BATCH, 7, 1),
            "returns_to_go": noise(BATCH, 7, 1),
            "timesteps": torch.arange(7).expand(BATCH, -1),
            "attention_mask": torch.ones(BATCH, 7),
        },
    ),
    "dots1": Recipe(
        "experts have no number by default",
        after=_sets(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1),
    ),
    "efficientloftr": Recipe(
        "compares two images", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 3, 64, 64)}
    ),
    "encodec": Recipe("one channel of sound", inputs=lambda model, made: {"input_values": noise(BATCH, 1, 6400)}),
    "esm": Recipe("a padding token is needed", after=_sets(pad_token_id=1, mask_token_id=2, vocab_size=33)),
    "florence_vision": Recipe(
        "named hidden_states, but an image", inputs=lambda model, made: {"hidden_states": noise(BATCH, 3, 64, 64)}
    ),
    "granitemoehybrid": Recipe(
        "which layers attend is not said by default",
        after=_sets(num_hidden_layers=3, layer_types=["linear_attention", "full_attention", "linear_attention"]),
    ),
    "lxmert": Recipe(
        "takes features of image regions",
        inputs=lambda model, made: (
            made
            | {
                "visual_feats": noise(BATCH, 5, model.config.visual_feat_dim),
                "visual_pos": noise(BATCH, 5, 4).sigmoid(),
            }
        ),
    ),
    "mllama_vision_model": Recipe(
        "takes tiles with their arrangement",
        inputs=lambda model, made: {
            "pixel_values": noise(1, 1, 4, 3, model.config.image_size, model.config.image_size),
            "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
            "aspect_ratio_mask": torch.ones(1, 1, 4, dtype=torch.long),
        },
    ),
    "musicgen_decoder": Recipe("one row of ids a codebook", inputs=_codebooks),
    "musicgen_melody_decoder": Recipe("one row of ids a codebook", inputs=_codebooks),
    "oneformer": Recipe("takes a task", inputs=_makes(task_inputs=lambda c: numbers(100, BATCH, 77))),
    "paddleocr_vl_vision": Recipe(
        "takes a run of square patches",
        inputs=_makes(
            pixel_values=lambda c: noise(1, 48, 3, c.patch_size, c.patch_size), grid_thw=lambda c: torch.tensor(GRID)
        ),
    ),
    "step3p7": Recipe("the window has no default", after=_within("text_config", sliding_window=5)),
}


def series(past: int, ahead: int) -> dict[str, Any]:
    """A time series with its time features, and what is to be forecast."""
    return {
        "past_values": noise(BATCH, past),
        "past_time_features": noise(BATCH, past, 1),
        "past_observed_mask": torch.ones(BATCH, past),
        "future_values": noise(BATCH, ahead),
        "future_time_features": noise(BATCH, ahead, 1),
    }
