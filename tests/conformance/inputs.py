"""Inputs for a model of any type, from the names in its forward and the sizes in its configuration."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 2
TOKENS = 13
TARGETS = 7
FRAMES = 48
SAMPLES = 6400


class Renewed(Mapping[str, Any]):
    """Inputs of which every reading gives copies, for a forward that writes into what it is given (a session)."""

    def __init__(self, **inputs: Any) -> None:
        self._inputs = inputs

    def __getitem__(self, name: str) -> Any:
        return copy.deepcopy(self._inputs[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)


def inputs_for(model: nn.Module, sideways: bool = False) -> dict[str, Any]:
    """Keyword arguments of the model's forward: its main input, whatever it insists on, and images where it takes them.

    Args:
        model: any model.
        sideways: give sounds their other usual layout: channels before time.
    """
    parameters = inspect.signature(model.forward).parameters
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    main = getattr(model, "main_input_name", "input_ids")
    names = [main] if isinstance(main, str) else list(main)
    names = [name for name in names if name in parameters] + required
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters:
        names.append("decoder_input_ids")
    if "attention_mask" in parameters and "input_ids" in names:
        names.append("attention_mask")
    if "pixel_values" in parameters and "input_ids" in names and _is_two_towers(model):
        names.append("pixel_values")
    if "input_features_mask" in parameters and "input_features" in names:
        names.append("input_features_mask")
    if "bbox" in parameters:
        names.append("bbox")
    made: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        value = _make(name, model, made)
        if value is not None:
            made[name] = _turned(value) if sideways and name in ("input_values", "input_features") else value
    return made


def _turned(sound: Tensor) -> Tensor:
    return sound[:, None] if sound.dim() == 2 else sound.transpose(1, 2).contiguous()


def _is_two_towers(model: nn.Module) -> bool:
    """Whether text and image go through towers of their own (CLIP), so that no image token stands in the text."""
    config = model.config
    has_slot = any(re.search(r"image_token|img_token|image_patch_id|boi_token", name) for name in vars(config))
    return hasattr(config, "vision_config") and hasattr(config, "text_config") and not has_slot


def _make(name: str, model: nn.Module, made: dict[str, Any]) -> Any:
    for pattern, maker in MAKERS:
        if re.fullmatch(pattern, name):
            return maker(model, made)
    return None


def find(config: Any, *names: str, default: Any = None) -> Any:
    """The first of these fields that the configuration, or one nested in it, has."""
    for holder in nested(config):
        for name in names:
            value = getattr(holder, name, None)
            if value is not None and not isinstance(value, bool):
                return value
    return default


def nested(config: Any) -> Iterator[Any]:
    """A configuration and all within it, outer ones first."""
    level = [config]
    while level:
        yield from level
        level = [value for holder in level for value in vars(holder).values() if hasattr(value, "to_dict")]


def input_ids(model: nn.Module, made: dict[str, Any], tokens: int = TOKENS) -> Tensor:
    sizes = [getattr(holder, "vocab_size", None) for holder in nested(model.config)]
    known = [size for size in sizes if isinstance(size, int) and size > 3]
    vocabulary = min(known) if known else int(find(model.config, "n_token", default=100))
    forbidden = {
        value
        for holder in nested(model.config)
        for name, value in vars(holder).items()
        if isinstance(value, int) and re.search(r"token_id|token_index|_id$", name)
    }
    allowed = [token for token in range(3, min(vocabulary, 400)) if token not in forbidden] or [1]
    choice = torch.randint(len(allowed), (BATCH, tokens), generator=torch.Generator().manual_seed(5))
    return torch.tensor(allowed)[choice]


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def image_size(config: Any, default: int = 64) -> tuple[int, int]:
    size = find(config, "image_size", "img_size", "resolution", default=default)
    if isinstance(size, dict):
        size = [size.get("height", default), size.get("width", default)]
    return (int(size[0]), int(size[-1])) if isinstance(size, (list, tuple)) else (int(size), int(size))


#: Time, height and width in patches, of one image and another.
GRID = ((1, 4, 4), (1, 8, 4))


def _grid(model: nn.Module, made: dict[str, Any]) -> Tensor:
    return torch.tensor(GRID)


def _wants_patches(model: nn.Module) -> bool:
    """Whether the model takes all images as one run of flattened patches."""
    return any(name in inspect.signature(model.forward).parameters for name in ("grid_thw", "image_grid_thw"))


def _patches(model: nn.Module) -> Tensor:
    config = model.config
    patch = find(config, "patch_size", "spatial_patch_size", default=14)
    patch = patch if isinstance(patch, int) else patch[-1]
    frames = find(config, "temporal_patch_size", default=1)
    channels = find(config, "in_channels", "in_chans", "num_channels", default=3)
    return _noise(sum(t * h * w for t, h, w in GRID), int(channels) * int(frames) * int(patch) ** 2)


def pixel_values(model: nn.Module, made: dict[str, Any]) -> Tensor:
    if _wants_patches(model):
        return _patches(model)
    channels = int(find(model.config, "num_channels", "in_channels", "in_chans", default=3))
    height, width = image_size(model.config)
    frames = find(model.config, "num_frames", "frames_per_clip")
    if frames:
        return _noise(BATCH, int(frames), channels, height, width)
    return _noise(BATCH, channels, height, width)


def input_features(model: nn.Module, made: dict[str, Any]) -> Tensor:
    mels = int(
        find(
            model.config,
            "num_mel_bins",
            "feature_size",
            "input_feat_per_channel",
            "n_mels",
            "input_dim",
            "feature_projection_input_dim",
            "input_feat_size",
            "mel_dim",
            "num_mel_bands",
            default=80,
        )
    )
    positions = find(model.config, "max_source_positions")
    frames = 2 * int(positions) if positions and int(positions) <= 200 else FRAMES
    if "whisper" in type(model).__name__.lower() or (hasattr(model.config, "max_source_positions") and positions):
        return _noise(BATCH, mels, frames)
    return _noise(BATCH, frames, mels)


def _attention_mask(model: nn.Module, made: dict[str, Any]) -> Tensor:
    return torch.ones_like(made["input_ids"]) if "input_ids" in made else torch.ones(BATCH, TOKENS, dtype=torch.long)


def _hidden(model: nn.Module, made: dict[str, Any]) -> Tensor:
    if _wants_patches(model):
        return _patches(model)
    return _noise(BATCH, TOKENS, int(find(model.config, "input_dim", "hidden_size", "d_model", "n_embd", default=64)))


def _decoder_ids(model: nn.Module, made: dict[str, Any]) -> Tensor:
    return input_ids(model, made, TARGETS)


def _boxes(model: nn.Module, made: dict[str, Any]) -> Tensor:
    corners = torch.randint(0, 50, (BATCH, TOKENS, 2), generator=torch.Generator().manual_seed(9))
    return torch.cat([corners, corners + 7], dim=-1)


def _features_mask(model: nn.Module, made: dict[str, Any]) -> Tensor:
    """Every frame counts; features are [batch, mel, frame] here where they are taken with a mask of frames."""
    return torch.ones(BATCH, max(made["input_features"].shape[1:]), dtype=torch.long)


def flattened_patches(model: nn.Module, made: dict[str, Any]) -> Tensor:
    """Row, column and pixels of 4 × 4 patches (Pix2Struct)."""
    size = int(find(model.config, "patch_size", default=16))
    places = torch.cartesian_prod(torch.arange(1, 5), torch.arange(1, 5)).float().expand(BATCH, -1, -1)
    return torch.cat([places, _noise(BATCH, 16, 3 * size * size)], dim=-1)


def _series(model: nn.Module, made: dict[str, Any]) -> Tensor:
    return _noise(BATCH, int(model.config.context_length), int(find(model.config, "num_input_channels", default=1)))


def _waveform(model: nn.Module, made: dict[str, Any]) -> Tensor:
    mels = find(model.config, "num_mel_bins")
    if mels and hasattr(model.config, "max_length"):  # a spectrogram of fixed length
        return _noise(BATCH, int(model.config.max_length), int(mels))
    return _noise(BATCH, SAMPLES)


Maker = Callable[[nn.Module, dict[str, Any]], Any]

#: Which maker serves which argument; the first that matches the whole name.
MAKERS: tuple[tuple[str, Maker], ...] = (
    ("input_ids|input", input_ids),
    ("decoder_input_ids", _decoder_ids),
    ("attention_mask", _attention_mask),
    ("pixel_values|pixel_values_videos|image", pixel_values),
    ("input_features_mask", _features_mask),
    ("flattened_patches", flattened_patches),
    ("grid_thw|image_grid_thw", _grid),
    ("past_values", _series),
    ("input_features|spectrogram", input_features),
    ("input_values", _waveform),
    ("inputs_embeds|hidden_states|query_embeds", _hidden),
    ("bbox", _boxes),
)
