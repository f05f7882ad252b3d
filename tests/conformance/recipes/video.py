"""Films: types that follow objects from frame to frame, in a session that remembers what was seen."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from tests.conformance.inputs import Renewed
from tests.conformance.recipes.recipe import Recipe, noise, numbers, sets

#: Half as wide: the memory has 64 channels, as is written into the code, and what it remembers must have more.
_STEPS = (16,)


def _session(model: nn.Module) -> Any:
    """An empty session of the model's own kind over two frames of noise."""
    module = inspect.getmodule(type(model))
    kind = type(model).__name__.removesuffix("Model") + "InferenceSession"
    size = int(model.config.image_size)
    film = noise(2, 3, size, size)
    return getattr(module, kind)(video=film, video_height=size, video_width=size, dtype=film.dtype)


def _pointed_at(model: nn.Module, made: dict[str, Any]) -> Renewed:
    """The second frame of a film in whose first one a point was marked."""
    session = _session(model)
    point = {
        "point_coords": torch.full((1, 1, 1, 2), model.config.image_size / 3),
        "point_labels": torch.ones(1, 1, 1, dtype=torch.int32),
    }
    session.add_point_inputs(session.obj_id_to_idx(1), 0, point)
    session.obj_with_new_inputs = [1]
    model(inference_session=session, frame_idx=0)
    return Renewed(inference_session=session, frame_idx=1)


def _asked_for(model: nn.Module, made: dict[str, Any]) -> Renewed:
    """The second frame of a film in whose first one an object was found that a text asks for."""
    session = _session(model)
    prompt = session.add_prompt("anything")
    session.prompt_input_ids[prompt] = numbers(100, 1, 8)
    session.prompt_attention_masks[prompt] = torch.ones(1, 8, dtype=torch.long)
    model(inference_session=session, frame_idx=0)
    return Renewed(inference_session=session, frame_idx=1)


def _hiera(config: Any) -> None:
    """Channels from the last stage to the first, and positions for 16 × 16 patches."""
    vision = config.vision_config
    vision.backbone_channel_list = vision.backbone_config.embed_dim_per_stage[::-1]
    sets(memory_encoder_output_channels=64, memory_attention_rope_feat_sizes=[16, 16])(config)


def _edgetam(config: Any) -> None:
    """4 × 4 windows of memory, and some latents of the whole frame."""
    _hiera(config)
    config.perceiver_resampler_hidden_size = config.perceiver_resampler_attention_head_dim = 64
    config.perceiver_resampler_num_latents, config.perceiver_resampler_num_latents_2d = 6, 16
    config.memory_attention_rope_k_sizes = [4, 4]


def _finds_one(config: Any) -> None:
    """Whatever is seen counts as found, and one thing is followed."""
    config.image_size = 252
    config.tracker_config.memory_encoder_output_channels = 64
    found = {"score_threshold_detection": 0.0, "new_det_thresh": 0.0, "det_nms_thresh": 0.0, "max_num_objects": 1}
    sets(low_res_mask_size=72, **found)(config)


RECIPES: dict[str, Recipe] = {
    "sam2_video": Recipe("follows an object", after=_hiera, steps=_STEPS, inputs=_pointed_at),
    "edgetam_video": Recipe("follows an object", after=_edgetam, steps=_STEPS, inputs=_pointed_at),
    "sam3_tracker_video": Recipe(
        "follows an object",
        after=sets(image_size=252, memory_encoder_output_channels=64),
        steps=_STEPS,
        inputs=_pointed_at,
    ),
    "sam3_video": Recipe("finds and follows objects", after=_finds_one, steps=_STEPS, inputs=_asked_for),
}
