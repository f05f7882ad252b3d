"""Tiny random models of images, text and sound, with processors that need no files."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SwinConfig,
    SwinModel,
    TimesformerConfig,
    TimesformerModel,
    VideoMAEConfig,
    VideoMAEImageProcessorPil,
    VideoMAEModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
    VivitConfig,
    VivitModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from attention_analyzer import AttentionAnalyzer

SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3}


def tokenizer(*marks: str) -> PreTrainedTokenizerFast:
    words = ["<unk>", "<pad>", "<s>", "</s>", *marks, "what", "is", "this", "?"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        additional_special_tokens=[*marks],
    )


def vit() -> AttentionAnalyzer:
    """32 × 32 pixels in cells of 8; images are stretched to that size."""
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).eval()
    return AttentionAnalyzer(model, ViTImageProcessorPil(size={"height": 32, "width": 32}), cache=False)


def swin() -> AttentionAnalyzer:
    """Two stages of two layers in windows of 4 × 4, every second of them shifted by 2."""
    torch.manual_seed(0)
    config = SwinConfig(image_size=32, patch_size=2, embed_dim=12, depths=[2, 2], num_heads=[2, 2], window_size=4)
    return AttentionAnalyzer(
        SwinModel(config).eval(), ViTImageProcessorPil(size={"height": 32, "width": 32}), cache=False
    )


def llava() -> AttentionAnalyzer:
    """The middle square of an image, scaled to 32 × 32 pixels in cells of 8, in front of a Llama."""
    torch.manual_seed(0)
    words = tokenizer("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SMALL, image_size=32, patch_size=8),
        text_config=LlamaConfig(**SMALL, num_key_value_heads=3, vocab_size=40, pad_token_id=1),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return AttentionAnalyzer(LlavaForConditionalGeneration(config).eval(), processor, cache=False)


def wav2vec2() -> AttentionAnalyzer:
    torch.manual_seed(0)
    config = Wav2Vec2Config(**SMALL, conv_dim=(16,) * 7, num_conv_pos_embedding_groups=4, num_conv_pos_embeddings=16)
    return AttentionAnalyzer(Wav2Vec2Model(config).eval(), processor=Wav2Vec2FeatureExtractor(), cache=False)


def videomae() -> AttentionAnalyzer:
    """Four frames of 32 × 32 pixels in cells of 8 × 8 pixels and two frames; the middle of each frame."""
    torch.manual_seed(0)
    config = VideoMAEConfig(**SMALL, image_size=32, patch_size=8, num_frames=4, tubelet_size=2)
    return AttentionAnalyzer(VideoMAEModel(config).eval(), _film_processor(), cache=False)


def vivit() -> AttentionAnalyzer:
    torch.manual_seed(0)
    config = VivitConfig(**SMALL, image_size=32, num_frames=4, tubelet_size=[2, 8, 8])
    return AttentionAnalyzer(VivitModel(config).eval(), _film_processor(), cache=False)


def timesformer() -> AttentionAnalyzer:
    """Attention over time and attention within frames, one after the other."""
    torch.manual_seed(0)
    config = TimesformerConfig(**SMALL, image_size=32, patch_size=8, num_frames=4)
    return AttentionAnalyzer(TimesformerModel(config).eval(), _film_processor(), cache=False)


def _film_processor() -> VideoMAEImageProcessorPil:
    return VideoMAEImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def qwen_vl(kind: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A tiny Qwen2-VL ("2") or Qwen2.5-VL ("2.5", with windows), and inputs with 8 × 12 patches in a text.

    Four patches become one token of the text. The pixels are to be made by the processor.
    """
    torch.manual_seed(0)
    rotary = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    text = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 2, "vocab_size": 60, "rope_parameters": rotary}
    text |= {"bos_token_id": None, "eos_token_id": None}
    marks = {"image_token_id": 50, "video_token_id": 51, "vision_start_token_id": 52, "vision_end_token_id": 53}
    vision = {"depth": 2, "num_heads": 2, "patch_size": 4}
    if kind == "2":
        vision |= {"embed_dim": 32, "hidden_size": 24, "mlp_ratio": 2}
        model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **marks))
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 24, "intermediate_size": 32, "window_size": 16}
        vision |= {"fullatt_block_indexes": [1]}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **marks))
    ids = torch.tensor([[5, 52, *[50] * 24, 53, 6, 7]])
    return model.eval(), {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.zeros(96, 96),
        "image_grid_thw": torch.tensor([[1, 8, 12]]),
        "mm_token_type_ids": (ids == 50).int(),
    }
