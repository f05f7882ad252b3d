"""Vision: types that read images, films or features of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.conformance.inputs import BATCH, GRID, find, flattened_patches, image_size
from tests.conformance.recipes.recipe import (
    SMALL_NET,
    Recipe,
    image,
    makes,
    noise,
    numbered_patches,
    sets,
)


def _strip(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Two images as one strip of patches, with their sizes."""
    patch = int(find(model.config, "patch_size"))
    return {"pixel_values": noise(1, 3, patch, 48 * patch), "target_sizes": torch.tensor([[4, 4], [8, 4]])}


def _detr_encoder(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    width = model.config.hidden_size
    features = [noise(BATCH, width, 4, 4)]
    return {"vision_features": features, "vision_pos_embeds": features, "text_features": noise(BATCH, 5, width)}


def _detr_decoder(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    width = model.config.hidden_size
    return {
        "vision_features": noise(BATCH, 16, width),
        "text_features": noise(BATCH, 5, width),
        "vision_pos_encoding": noise(BATCH, 16, width),
        "spatial_shapes": torch.tensor([[4, 4]]),
    }


def _mask_decoder(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    width = model.config.hidden_size
    return {
        "decoder_queries": noise(BATCH, 6, width),
        "backbone_features": [noise(BATCH, width, size, size) for size in (16, 8, 4)],
        "encoder_hidden_states": noise(BATCH, 16, width),
        "prompt_features": noise(BATCH, 5, width),
    }


def _square_windows(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Images of 8 × 8 patches, which divide into windows."""
    edge = 8 * int(find(model.config.backbone_config, "patch_size"))
    return {"pixel_values": noise(BATCH, 3, edge, edge)}


def _stages(config: Any) -> None:
    backbone = config.backbone_config
    backbone._out_features = [f"stage{index}" for index in backbone._out_indices]


RECIPES: dict[str, Recipe] = {
    "efficientloftr": Recipe(
        "compares two images", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 3, 64, 64)}
    ),
    "florence_vision": Recipe(
        "named hidden_states, but an image", inputs=lambda model, made: {"hidden_states": noise(BATCH, 3, 64, 64)}
    ),
    "mllama_vision_model": Recipe(
        "takes tiles with their arrangement",
        inputs=lambda model, made: {
            "pixel_values": noise(1, 1, 4, 3, model.config.image_size, model.config.image_size),
            "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
            "aspect_ratio_mask": torch.ones(1, 1, 4, dtype=torch.long),
        },
    ),
    "paddleocr_vl_vision": Recipe(
        "takes a run of square patches",
        inputs=makes(
            pixel_values=lambda c: noise(1, 48, 3, c.patch_size, c.patch_size), grid_thw=lambda c: torch.tensor(GRID)
        ),
    ),
    "align_vision_model": Recipe("deep", after=sets(**SMALL_NET)),
    "deepseek_ocr2_vision": Recipe("a large image", steps=(0,)),
    "inkling_vision": Recipe(
        "channels come last", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 40, 40, 3)}
    ),
    "deepseek_ocr2_encoder": Recipe(
        "patches and as many queries",
        inputs=lambda model, made: {"inputs_embeds": noise(BATCH, 10, model.config.hidden_size), "num_patches": 5},
    ),
    "efficientnet": Recipe("deep", after=sets(**SMALL_NET, hidden_dim=320), steps=(13,)),
    "gemma4_vision": Recipe(
        "patches with their places",
        inputs=lambda model, made: {
            "pixel_values": noise(BATCH, 36, 3 * model.config.patch_size**2).sigmoid(),
            "pixel_position_ids": torch.cartesian_prod(torch.arange(6), torch.arange(6)).expand(BATCH, -1, -1),
        },
    ),
    "got_ocr2_vision": Recipe(
        "takes an image",
        inputs=lambda model, made: {"pixel_values": noise(BATCH, 3, model.config.image_size, model.config.image_size)},
    ),
    "kosmos_2_5_vision_model": Recipe(
        "patches with their places", inputs=lambda model, made: {"flattened_patches": flattened_patches(model, made)}
    ),
    "lightglue": Recipe("compares two images", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 3, 64, 64)}),
    "llama4_vision_model": Recipe(
        "its places fit one image", inputs=lambda model, made: {"pixel_values": made["pixel_values"][:1]}
    ),
    "minicpm_ocr_vision": Recipe("a run of patches", inputs=_strip),
    "minicpmv4_6_vision": Recipe("a run of patches", inputs=_strip),
    "minicpmv4_7_vision": Recipe("a run of patches", inputs=_strip),
    "molmo2_vision": Recipe("a run of patches", inputs=lambda model, made: {"pixel_values": noise(BATCH, 729, 588)}),
    "muse_glimmer_vision": Recipe("two frames a patch", inputs=makes(pixel_values=lambda c: noise(48, 1176))),
    "muse_spark_vision": Recipe("two frames a patch", inputs=makes(pixel_values=lambda c: noise(48, 1176))),
    "rf_detr": Recipe("stages and their names", after=_stages, steps=(6,), inputs=_square_windows),
    "lw_detr": Recipe("stages and their names", after=_stages, steps=(6,)),
    "siglip2_vision_model": Recipe("a run of patches", inputs=numbered_patches),
    "superglue": Recipe("compares two images", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 3, 64, 64)}),
    "xclip_vision_model": Recipe(
        "frames stand in the batch axis",
        inputs=lambda model, made: {"pixel_values": noise(model.config.num_frames, 3, *image_size(model.config))},
    ),
    "video_llama_3_vision": Recipe("patches are merged", inputs=makes(merge_sizes=lambda c: torch.tensor([1, 1]))),
    "videomt": Recipe("takes films", inputs=lambda model, made: {"pixel_values_videos": image(model.config, 2)}),
    "sam3_detr_encoder": Recipe("reads features", inputs=_detr_encoder),
    "sam3_lite_text_detr_encoder": Recipe("reads features", inputs=_detr_encoder),
    "sam3_detr_decoder": Recipe("reads features", inputs=_detr_decoder),
    "sam3_lite_text_detr_decoder": Recipe("reads features", inputs=_detr_decoder),
    "sam3_mask_decoder": Recipe("reads features", inputs=_mask_decoder),
    "sam3_lite_text_mask_decoder": Recipe("reads features", inputs=_mask_decoder),
    "kimi_k25_vision": Recipe(
        "a run of square patches", inputs=makes(pixel_values=lambda c: noise(48, 3, c.patch_size, c.patch_size))
    ),
    "seggpt": Recipe(
        "learns from an example above the image",
        inputs=lambda model, made: {
            name: image(model.config)[:, :, : image_size(model.config)[0] // 2]
            for name in ("pixel_values", "prompt_pixel_values", "prompt_masks")
        },
    ),
    "sam": Recipe("its parts have widths in common", steps=(15,)),
    "sam_hq": Recipe("its parts have widths in common", steps=(15,)),
    "sam2": Recipe("its parts have widths in common", steps=(15,)),
    "sam2_vision_model": Recipe("its parts have widths in common", steps=(15,)),
    "unlimited_ocr_vision_encoder": Recipe(
        "reads embedded patches",
        inputs=lambda model, made: {"patch_embeds": noise(BATCH, model.config.hidden_size, 4, 4)},
    ),
}
