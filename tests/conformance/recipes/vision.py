"""Vision: types that read images, films or features of them."""

from __future__ import annotations

from collections.abc import Callable
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
    within,
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


def _one_scale(config: Any) -> None:
    _stages(config)
    sets(projector_scale_factors=[1.0], projector_in_channels=[config.d_model], num_feature_levels=1)(config)


def _crops(config: Any) -> None:
    """Crops of 4 × 4 patches, and features of the first and the last layer."""
    sets(patch_size=64, intermediate_hook_ids=[1, 0])(config)
    for part in (config.image_model_config, config.patch_model_config, config.fov_model_config):
        sets(image_size=64, patch_size=16)(part)


def _four_crops_wide(config: Any) -> torch.Tensor:
    return noise(1, 3, 4 * config.patch_size, 4 * config.patch_size)


def _line(height: int) -> Callable[[nn.Module, dict[str, Any]], dict[str, Any]]:
    """Lines of text as high as the backbone makes three rows of."""
    return makes(pixel_values=lambda c: noise(BATCH, 3, height, 5 * height))


def _all_stages() -> Any:
    from transformers import HGNetV2Config

    return HGNetV2Config(out_features=["stage1", "stage2", "stage3", "stage4"])


def _with_blocks(kind: type) -> Any:
    """A detector of text lines; each convolution is told as kernel, stride and padding."""
    blocks: dict[str, list[Any]] = {name: [1, 1, 0] for name in ("reduce_channel", "return_channel")}
    for ratio, size in (("longratio", 7), ("midratio", 5), ("shortratio", 3)):
        half = size // 2
        blocks[f"vertical_long_to_small_conv_{ratio}"] = [[size, 1], [1, 1], [half, 0]]
        blocks[f"horizontal_small_to_long_conv_{ratio}"] = [[1, size], [1, 1], [0, half]]
        blocks[f"symmetric_conv_long_{ratio}"] = [[size, size], [1, 1], [half, half]]
    return kind(
        backbone_config=_all_stages(),
        intraclass_block_config=blocks,
        scale_factor_list=[1, 2, 4, 8],
        kernel_list=[3, 2, 2],
    )


def _one_width(config: Any) -> None:
    """As wide as its backbone, of which it takes the last layer; one layer attends in windows."""
    backbone = config.backbone_config
    sets(hidden_size=backbone.hidden_size, fusion_hidden_sizes=[32, 16, 8, 4])(config)
    config.convstream_hidden_sizes = [6, 12, 24]
    sets(_out_indices=[2], _out_features=["stage2"], window_block_indices=[0], window_size=3)(backbone)


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
    "deepseek_ocr2_vision": Recipe(
        "its two towers have a width in common",
        after=within("encoder_config", hidden_size=112, num_attention_heads=7, num_key_value_heads=1),
        steps=(0,),
    ),
    "depth_pro": Recipe("towers for crops of one size", after=_crops, inputs=makes(pixel_values=_four_crops_wide)),
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
    "inkling2_vision": Recipe(
        "channels come last, in a run of merged patches",
        inputs=lambda model, made: {
            "pixel_values": noise(12, 40, 40, 3),
            "image_grid_thw": torch.tensor([[1, 2, 2], [1, 4, 2]]),
        },
    ),
    "janus_vqgan": Recipe("groups of channels", after=sets(base_channels=32, num_patches=4), steps=(0,)),
    "llama4_vision_model": Recipe(
        "its adapter's widths belong together",
        after=sets(intermediate_size=384, projector_input_dim=512),
        steps=(1,),
    ),
    "minicpm_ocr_vision": Recipe("a run of patches", inputs=_strip),
    "minicpmv4_6_vision": Recipe("a run of patches", inputs=_strip),
    "minicpmv4_7_vision": Recipe("a run of patches", inputs=_strip),
    "molmo2_vision": Recipe("a run of patches", inputs=lambda model, made: {"pixel_values": noise(BATCH, 729, 588)}),
    "muse_glimmer_vision": Recipe("two frames a patch", inputs=makes(pixel_values=lambda c: noise(48, 1176))),
    "muse_spark_vision": Recipe("two frames a patch", inputs=makes(pixel_values=lambda c: noise(48, 1176))),
    "rf_detr": Recipe("stages and their names", after=_stages, steps=(6,), inputs=_square_windows),
    "lw_detr": Recipe("stages and their names, and no scales by default", after=_one_scale, steps=(6,)),
    "pp_doclayout_v2": Recipe(
        "thresholds and an order of its classes are needed",
        after=sets(class_thresholds=[0.0, 0.5], class_order=[4, 7]),
        steps=(13,),
    ),
    "pp_ocrv5_mobile_rec": Recipe(
        "reads a line", model="PPOCRV5MobileRecForTextRecognition", steps=(13,), inputs=_line(96)
    ),
    "pp_ocrv5_server_rec": Recipe(
        "reads a line", model="PPOCRV5ServerRecForTextRecognition", steps=(13,), inputs=_line(48)
    ),
    "pp_ocrv6_small_rec": Recipe(
        "reads a line", model="PPOCRV6SmallRecForTextRecognition", steps=(13,), inputs=_line(48)
    ),
    "pp_ocrv5_server_det": Recipe("sizes of its blocks are needed", config=_with_blocks, steps=(13,)),
    "pp_ocrv6_medium_det": Recipe("sizes of its blocks are needed", config=_with_blocks, steps=(13,)),
    "pp_ocrv6_small_det": Recipe(
        "channels of all stages",
        config=lambda kind: kind(backbone_config=_all_stages(), layer_list_out_channels=[128, 512, 1024, 2048]),
        steps=(13,),
    ),
    "slanet": Recipe(
        "its head is a model, too", model="SLANetForTableRecognition", after=sets(max_text_length=4), steps=(13,)
    ),
    "slanext": Recipe(
        "its head is a model, too", model="SLANeXtForTableRecognition", after=sets(max_text_length=4), steps=(13,)
    ),
    "uvdoc": Recipe(
        "all stages of its backbone",
        config=lambda kind: kind(backbone_config={"model_type": "uvdoc_backbone", "out_indices": [1, 2, 3, 4, 5, 6]}),
        steps=(13,),
    ),
    "vitmatte": Recipe("lists, and one width", after=_one_width, steps=(0,)),
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
