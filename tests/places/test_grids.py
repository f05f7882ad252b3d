"""Patches of images are named by their true row and column, or numbered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    DeiTConfig,
    DeiTModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
)

from attention_analyzer import AttentionAnalyzer

SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3}
IMAGES = SMALL | {"image_size": 16, "patch_size": 4}
FREE = {"interpolate_pos_encoding": True}


def names(model: nn.Module, size: tuple[int, int], stack: str | None = None, **more) -> tuple[str, ...]:
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    record = AttentionAnalyzer(model.eval(), cache=False).record(inputs={"pixel_values": pixels} | more)
    return record.entry(0, stack=stack, kind="self").keys.pieces


def grid(rows: int, columns: int) -> tuple[str, ...]:
    return tuple(f"{row},{column}" for row in range(rows) for column in range(columns))


@pytest.mark.parametrize(
    ("model", "size", "first", "more"),
    [
        (lambda: ViTModel(ViTConfig(**IMAGES)), (16, 16), ("[CLS]",), {}),
        (lambda: ViTModel(ViTConfig(**IMAGES)), (12, 28), ("[CLS]",), FREE),
        (lambda: ViTModel(ViTConfig(**IMAGES)), (15, 22), ("[CLS]",), FREE),  # what is left over is not read
        (lambda: DeiTModel(DeiTConfig(**IMAGES)), (16, 16), ("[CLS]", "[DIST]"), {}),
        (
            lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**IMAGES, num_register_tokens=3)),
            (12, 20),
            ("[CLS]", "[REG1]", "[REG2]", "[REG3]"),
            {},
        ),
        (lambda: SiglipVisionModel(SiglipVisionConfig(**IMAGES)), (4, 68), (), FREE),
        (lambda: CLIPVisionModel(CLIPVisionConfig(**IMAGES)), (8, 32), ("[CLS]",), FREE),
    ],
)
def test_patches_have_their_row_and_column(model, size: tuple[int, int], first: tuple[str, ...], more) -> None:
    torch.manual_seed(0)
    assert names(model(), size, **more) == first + grid(size[0] // 4, size[1] // 4)


def test_the_image_beside_a_text() -> None:
    torch.manual_seed(0)
    text = SMALL | {"vocab_size": 30, "max_position_embeddings": 16}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=IMAGES))
    ids = torch.tensor([[5, 6, 7, 8]])
    assert names(model, (20, 28), "vision", input_ids=ids, **FREE) == ("[CLS]", *grid(5, 7))


def test_special_tokens_are_known_as_such() -> None:
    torch.manual_seed(0)
    record = AttentionAnalyzer(DeiTModel(DeiTConfig(**IMAGES)).eval(), cache=False).record(
        inputs={"pixel_values": torch.randn(1, 3, 16, 16)}
    )
    assert record.tokens.is_special == (True, True, *(False,) * 16)
    assert record.heads()["special_weight"].gt(0).all()


def test_patches_that_are_shuffled_are_numbered() -> None:
    """A masked autoencoder keeps a random part of the patches: which ones, nobody can tell afterwards."""
    torch.manual_seed(0)
    found = names(ViTMAEModel(ViTMAEConfig(**IMAGES, mask_ratio=0.5)), (16, 16))
    assert found == tuple(str(number) for number in range(9))


class _Stem(nn.Module):
    """A model whose patches are turned (columns first, then rows), and may overlap or come twice."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.blur = nn.Conv2d(24, 24, 3, 1, 1)
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.patches(pixel_values)
        patches = self.blur(patches) if self.kind == "overlap" else patches
        tokens = patches.transpose(2, 3).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens, tokens], 1) if self.kind == "twice" else tokens
        result: Tensor = self.attention(tokens, tokens, tokens)[0]
        return result


def test_the_order_is_the_models_own() -> None:
    torch.manual_seed(0)
    assert names(_Stem("turned"), (8, 12)) == tuple(f"{row},{column}" for column in range(3) for row in range(2))


@pytest.mark.parametrize(("kind", "count"), [("overlap", 6), ("twice", 12)])
def test_what_is_no_grid_is_numbered(kind: str, count: int) -> None:
    torch.manual_seed(0)
    assert names(_Stem(kind), (8, 12)) == tuple(str(number) for number in range(count))


def test_the_model_and_the_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(0)
    model = DeiTModel(DeiTConfig(**IMAGES)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    kept = pixels.clone()
    AttentionAnalyzer(model, cache=False).record(inputs={"pixel_values": pixels})
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(pixels, kept)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
