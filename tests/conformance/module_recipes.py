"""Small modules of torch, timm, open_clip, x-transformers, diffusers and others, each with inputs for one forward."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

#: A module, or what holds one, and keyword arguments of its forward.
Built = tuple[Any, dict[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """How a module is built.

    Attributes:
        package: the package that it needs, by its distribution's name.
    """

    name: str
    package: str
    build: Callable[[], Built]


def _states(tokens: int = 9, channels: int = 12) -> torch.Tensor:
    return torch.randn(1, tokens, channels)


def _attention(**options: Any) -> Built:
    module = nn.MultiheadAttention(12, 2, **options)
    side = _states() if options.get("batch_first") else _states().transpose(0, 1)
    return module, {"query": side, "key": side, "value": side, "need_weights": False}


def _encoder(**options: Any) -> Built:
    layer = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), {"src": _states()}


def _padded_encoder() -> Built:
    module, inputs = _encoder()
    return module, inputs | {"src_key_padding_mask": torch.tensor([[False] * 7 + [True] * 2])}


def _decoder() -> Built:
    layer = nn.TransformerDecoderLayer(12, 2, 16, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(9)
    return nn.TransformerDecoder(layer, 2), {"tgt": _states(), "memory": _states(5), "tgt_mask": mask}


def _both() -> Built:
    return nn.Transformer(12, 2, 1, 1, 16, batch_first=True), {"src": _states(5), "tgt": _states()}


def _timm(name: str, **options: Any) -> Callable[[], Built]:
    def build() -> Built:
        timm = importlib.import_module("timm")
        settings = {"img_size": 32, "pretrained": False} | options
        return timm.create_model(name, **settings), {"x": torch.randn(1, 3, 32, 32)}

    return build


_PLAIN = {"patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 3}
_WINDOWS = {"window_size": 4, "depths": (2, 2), "embed_dim": 12, "num_heads": (2, 3)}


def _open_clip() -> Built:
    model = importlib.import_module("open_clip.model")
    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 8, "patch_size": 8}
    text = {"context_length": 12, "vocab_size": 60, "width": 24, "heads": 3, "layers": 2}
    clip = model.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    return clip, {"image": torch.randn(1, 3, 32, 32), "text": torch.randint(0, 59, (1, 12))}


def _x_transformers(stack: str, **options: Any) -> Callable[[], Built]:
    def build() -> Built:
        library = importlib.import_module("x_transformers")
        layers = getattr(library, stack)(dim=12, depth=2, heads=3, attn_dim_head=4, **options)
        model = library.TransformerWrapper(num_tokens=50, max_seq_len=32, attn_layers=layers)
        return model, {"x": torch.randint(0, 50, (1, 9))}

    return build


def _x_transformers_two_stacks() -> Built:
    library = importlib.import_module("x_transformers")
    sides = {
        f"{side}_{name}": value
        for side in ("enc", "dec")
        for name, value in {
            "num_tokens": 50,
            "depth": 1,
            "heads": 3,
            "max_seq_len": 32,
            "attn_dim_head": 4,
        }.items()
    }
    model = library.XTransformer(dim=12, **sides)
    return model, {"src": torch.randint(0, 50, (1, 9)), "tgt": torch.randint(0, 50, (1, 7))}


def _unet() -> Built:
    library = importlib.import_module("diffusers")
    model = library.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    inputs = {"sample": torch.randn(1, 4, 8, 8), "timestep": torch.tensor([3])}
    return model, inputs | {"encoder_hidden_states": _states(7)}


_DIFFUSION = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4}


def _dit() -> Built:
    library = importlib.import_module("diffusers")
    sizes = {"num_layers": 2, "sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": 10, "norm_num_groups": 4}
    model = library.DiTTransformer2DModel(**_DIFFUSION, **sizes)
    steps = {"timestep": torch.tensor([3]), "class_labels": torch.tensor([1])}
    return model, {"hidden_states": torch.randn(1, 4, 8, 8)} | steps


def _pix_art() -> Built:
    library = importlib.import_module("diffusers")
    sizes = {"num_layers": 1, "sample_size": 8, "patch_size": 2, "cross_attention_dim": 16, "caption_channels": 12}
    model = library.PixArtTransformer2DModel(**_DIFFUSION, **sizes, norm_num_groups=4, use_additional_conditions=False)
    inputs: dict[str, Any] = {"hidden_states": torch.randn(1, 4, 8, 8), "timestep": torch.tensor([3])}
    conditions = {"resolution": None, "aspect_ratio": None}
    return model, inputs | {"encoder_hidden_states": _states(7), "added_cond_kwargs": conditions}


def _flux() -> Built:
    library = importlib.import_module("diffusers")
    model = library.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )
    inputs = {"hidden_states": _states(16, 4), "encoder_hidden_states": _states(7), "timestep": torch.tensor([0.3])}
    places = {"img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(7, 3)}
    return model, inputs | places | {"pooled_projections": torch.randn(1, 8)}


RECIPES: tuple[Recipe, ...] = (
    Recipe("MultiheadAttention", "torch", lambda: _attention(batch_first=True)),
    Recipe("MultiheadAttention, tokens first", "torch", _attention),
    Recipe("MultiheadAttention, rows added", "torch", lambda: _attention(add_bias_kv=True, add_zero_attn=True)),
    Recipe("TransformerEncoder", "torch", _encoder),
    Recipe("TransformerEncoder, norms first", "torch", lambda: _encoder(norm_first=True)),
    Recipe("TransformerEncoder, padded", "torch", _padded_encoder),
    Recipe("TransformerDecoder", "torch", _decoder),
    Recipe("Transformer", "torch", _both),
    Recipe("ViT", "timm", _timm("vit_tiny_patch16_224", **_PLAIN)),
    Recipe("DeiT", "timm", _timm("deit_tiny_distilled_patch16_224", **_PLAIN)),
    Recipe("EVA-02", "timm", _timm("eva02_tiny_patch14_224", **_PLAIN)),
    Recipe("Swin", "timm", _timm("swin_tiny_patch4_window7_224", **_WINDOWS)),
    Recipe("Swin V2", "timm", _timm("swinv2_tiny_window8_256", **_WINDOWS)),
    Recipe("CLIP", "open_clip", _open_clip),
    Recipe("Decoder", "x-transformers", _x_transformers("Decoder")),
    Recipe("Encoder, fused", "x-transformers", _x_transformers("Encoder", attn_flash=True)),
    Recipe(
        "Decoder, ALiBi and memories",
        "x-transformers",
        _x_transformers("Decoder", alibi_pos_bias=True, attn_num_mem_kv=2),
    ),
    Recipe("Encoder, talking heads", "x-transformers", _x_transformers("Encoder", attn_post_talking_heads=True)),
    Recipe("XTransformer", "x-transformers", _x_transformers_two_stacks),
    Recipe("UNet2DConditionModel", "diffusers", _unet),
    Recipe("DiTTransformer2DModel", "diffusers", _dit),
    Recipe("PixArtTransformer2DModel", "diffusers", _pix_art),
    Recipe("FluxTransformer2DModel", "diffusers", _flux),
)
