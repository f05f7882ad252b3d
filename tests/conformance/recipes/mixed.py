"""Several kinds of input at once: types that read text with images, films or sound."""

from __future__ import annotations

from typing import Any

import torch

from tests.conformance.inputs import BATCH, TARGETS, TOKENS
from tests.conformance.recipes.recipe import (
    SMALL_NET,
    Recipe,
    image,
    indexed,
    makes,
    noise,
    numbered_patches,
    numbers,
    rotary_by_kind,
    sets,
    within,
)


def _small_align(config: Any) -> None:
    """The text is projected onto as many channels as the vision tower ends in."""
    sets(**SMALL_NET)(config.vision_config)
    config.projection_dim = 80


def _after_image(config: Any, places: int) -> torch.Tensor:
    """A text that begins with the places of an image."""
    return torch.cat([torch.full((BATCH, places), 500), numbers(400, BATCH, TARGETS)], dim=1)


def _seen_first(config: Any, places: int) -> torch.Tensor:
    """A text that begins with the places of an image, as its own token."""
    return torch.cat([torch.full((BATCH, places), config.image_token_id), numbers(400, BATCH, TARGETS)], dim=1)


def _features_of_all(config: Any) -> None:
    """Features of one layer of the image go to each layer of the text; one crop besides the whole image."""
    size = config.vision_config.image_size
    sets(deepstack_layer_map=[(1, 0)], spatial_target_layers=[0, 1, 0, 1], downsample_rate="1/2")(config)
    sets(image_grid_pinpoints=[[size, size]], image_token_index=500)(config)


RECIPES: dict[str, Recipe] = {
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
    "oneformer": Recipe("takes a task", inputs=makes(task_inputs=lambda c: numbers(100, BATCH, 77))),
    "align": Recipe("its vision tower is deep", after=_small_align, steps=(13,)),
    "blip-2": Recipe("an image token is needed", after=sets(image_token_id=500)),
    "blip_2_qformer": Recipe(
        "attends to image features",
        inputs=makes(encoder_hidden_states=lambda c: noise(BATCH, 5, c.encoder_hidden_size)),
    ),
    "chameleon": Recipe("an image token is needed", after=sets(vocabulary_map={"<image>": 4})),
    "cohere_compass": Recipe("rotary bases are needed", after=lambda config: rotary_by_kind(config.text_config)),
    "deepseek_ocr2": Recipe(
        "which layers have experts is not said",
        after=within("text_config", mlp_layer_types=["dense", "sparse"], num_hidden_layers=2),
    ),
    "diffusion_gemma": Recipe(
        "experts have no number by default",
        after=within("text_config", num_experts=4, top_k_experts=2, moe_intermediate_size=16),
    ),
    "emu3": Recipe("an image token is needed", after=sets(vocabulary_map={"<image>": 4})),
    "granite4_vision": Recipe(
        "where features of the image go is not said, and it stands within the text",
        after=_features_of_all,
        steps=(0,),
        inputs=makes(
            pixel_values=lambda c: image(c, 2),
            image_sizes=lambda c: torch.full((BATCH, 2), c.vision_config.image_size),
            input_ids=lambda c: _after_image(c, 10),
            attention_mask=lambda c: torch.ones(BATCH, 10 + TARGETS, dtype=torch.long),
        ),
    ),
    "mllama": Recipe(
        "an image of tiles belongs to the text",
        after=lambda config: sets(cross_attention_layers=[1])(config.text_config),
        inputs=makes(
            pixel_values=lambda c: noise(BATCH, 1, 4, 3, c.vision_config.image_size, c.vision_config.image_size),
            aspect_ratio_ids=lambda c: torch.ones(BATCH, 1, dtype=torch.long),
            aspect_ratio_mask=lambda c: torch.ones(BATCH, 1, 4, dtype=torch.long),
            cross_attention_mask=lambda c: (torch.arange(4) < 3).long().expand(BATCH, TOKENS, 1, -1),
        ),
    ),
    "mllama_text_model": Recipe(
        "attends to features of an image in some layers",
        after=sets(cross_attention_layers=[1]),
        inputs=makes(
            cross_attention_states=lambda c: noise(BATCH, 9, c.hidden_size),
            cross_attention_mask=lambda c: torch.zeros(BATCH, 1, TOKENS, 9),
        ),
    ),
    "idefics2_perceiver": Recipe(
        "resamples image features",
        inputs=lambda model, made: {
            "context": noise(BATCH, 9, model.config.hidden_size),
            "attention_mask": torch.ones(BATCH, 9),
        },
    ),
    "instructblip": Recipe(
        "asks its own questions about the image within the text",
        after=sets(image_token_index=500),
        inputs=makes(
            pixel_values=image,
            qformer_input_ids=lambda c: numbers(100, BATCH, 5),
            input_ids=lambda c: _after_image(c, c.num_query_tokens),
            attention_mask=lambda c: torch.ones(BATCH, c.num_query_tokens + TARGETS, dtype=torch.long),
        ),
    ),
    "instructblipvideo": Recipe(
        "asks its own questions about the film within the text",
        after=sets(video_token_index=500),
        inputs=makes(
            pixel_values=lambda c: image(c, 4),
            qformer_input_ids=lambda c: numbers(100, BATCH, 5),
            input_ids=lambda c: _after_image(c, 4 * c.num_query_tokens),
            attention_mask=lambda c: torch.ones(BATCH, 4 * c.num_query_tokens + TARGETS, dtype=torch.long),
        ),
    ),
    "kosmos-2": Recipe(
        "an image within the text",
        after=sets(latent_query_num=6),
        inputs=lambda model, made: {
            "input_ids": numbers(400, BATCH, TOKENS),
            "pixel_values": image(model.config),
            "image_embeds_position_mask": (torch.arange(TOKENS) < 6).expand(BATCH, -1),
        },
    ),
    "omdet-turbo": Recipe(
        "a backbone of the library's own, a task and classes",
        config=lambda kind: kind(use_timm_backbone=False),
        after=sets(encoder_in_channels=[24, 48, 96], apply_layernorm_after_vision_backbone=False),
        steps=(3,),
        inputs=makes(
            classes_input_ids=lambda c: numbers(100, 5, TARGETS),
            classes_attention_mask=lambda c: torch.ones(5, TARGETS, dtype=torch.long),
            tasks_input_ids=lambda c: numbers(100, BATCH, TOKENS),
            tasks_attention_mask=lambda c: torch.ones(BATCH, TOKENS, dtype=torch.long),
            classes_structure=lambda c: torch.tensor([2, 3]),
        ),
    ),
    "vilt": Recipe("an image belongs to the text", inputs=makes(pixel_values=image)),
    "siglip2": Recipe("a run of patches", inputs=numbered_patches),
    "udop": Recipe(
        "boxes are fractions of a page",
        inputs=makes(
            pixel_values=image,
            bbox=lambda c: torch.cat(
                [noise(BATCH, TOKENS, 2).sigmoid() / 2, noise(BATCH, TOKENS, 2).sigmoid()], dim=-1
            ),
        ),
    ),
    "tvp": Recipe(
        "a film belongs to the text, and its places fit one",
        after=sets(num_frames=2),
        inputs=lambda model, made: {
            "input_ids": made["input_ids"][:1],
            "attention_mask": made["attention_mask"][:1],
            "pixel_values": noise(1, model.config.num_frames, 3, 448, 448),
        },
    ),
    "qwen2_5_omni_thinker": Recipe(
        "tokens are missing", after=sets(vision_start_token_id=501, vision_end_token_id=502)
    ),
    "qwen3_omni_moe_thinker": Recipe(
        "tokens are missing", after=sets(vision_start_token_id=501, vision_end_token_id=502)
    ),
    "sam3": Recipe("a text belongs to the image", inputs=makes(input_ids=lambda c: numbers(100, BATCH, 8))),
    "sam3_lite_text": Recipe("a text belongs to the image", inputs=makes(input_ids=lambda c: numbers(100, BATCH, 8))),
    "idefics": Recipe(
        "an image belongs to the text",
        inputs=makes(pixel_values=lambda c: image(c, 1), image_attention_mask=lambda c: torch.ones(BATCH, TOKENS, 1)),
    ),
    "qwen4_exp": Recipe("an indexer's sizes are needed", after=lambda config: indexed(config.text_config)),
    "molmo2_adapter": Recipe(
        "pools features of patches",
        inputs=lambda model, made: {
            "image_features": noise(BATCH, 8, model.image_pooling_2d.q_proj.in_features),
            "pooled_patches_idx": torch.arange(16).view(4, 4),
        },
    ),
    "pi0": Recipe(
        "moves by what it reads and sees",
        steps=(0,),
        inputs=lambda model, made: {
            "action_embeds": noise(BATCH, TARGETS, model.config.dit_config.hidden_size),
            "input_ids": _seen_first(model.config.vlm_config, 16),
            "attention_mask": torch.ones(BATCH, 16 + TARGETS, dtype=torch.long),
            "pixel_values": image(model.config.vlm_config, 1),
            "pixel_attention_mask": torch.ones(BATCH, 1, dtype=torch.bool),
        },
    ),
}
