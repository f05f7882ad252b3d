"""What the automatic way cannot know: one small function a type, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.conformance.inputs import BATCH, GRID, TARGETS, TOKENS, find, flattened_patches, image_size


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


def _written_codes(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """A text, and one row of ids a codebook."""
    books = int(find(model.config, "num_codebooks"))
    return made | {"decoder_input_ids": numbers(100, BATCH * books, TARGETS)}


def _hybrid(config: Any) -> None:
    """Two state-space layers and one of attention."""
    config.num_hidden_layers = 3
    config.attn_layer_indices = [1]


_SMALL_NET = {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.2}


def _rotary_by_kind(config: Any) -> None:
    """A rotary base for each kind of layer, and one layer of each."""
    third = config.head_dim // 6
    rotary = {"rope_type": "default", "rope_theta": 10000.0}
    rotary["mrope_section"] = [config.head_dim // 2 - 2 * third, third, third]
    config.layer_types = ["sliding_attention", "full_attention"]
    config.rope_parameters = {kind: dict(rotary) for kind in config.layer_types}


def _indexed(config: Any) -> None:
    """One key head for the indexer, and a budget shorter than the text."""
    sizes = {"n_heads": 2, "kv_heads": 1, "head_dim": config.head_dim, "budget": 8, "compress_ratio": 2}
    _sets(**{f"indexer_{name}": size for name, size in sizes.items()})(config)


def _small_align(config: Any) -> None:
    """The text is projected onto as many channels as the vision tower ends in."""
    _sets(**_SMALL_NET)(config.vision_config)
    config.projection_dim = 80


def _after_image(config: Any, places: int) -> torch.Tensor:
    """A text that begins with the places of an image."""
    return torch.cat([torch.full((BATCH, places), 500), numbers(400, BATCH, TARGETS)], dim=1)


def _strip(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Two images as one strip of patches, with their sizes."""
    patch = int(find(model.config, "patch_size"))
    return {"pixel_values": noise(1, 3, patch, 48 * patch), "target_sizes": torch.tensor([[4, 4], [8, 4]])}


def _image(config: Any, *before: int) -> torch.Tensor:
    """Noise as large as the model's images, with further axes after the first."""
    return noise(BATCH, *before, 3, *image_size(config))


def _numbered_patches(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """4 × 4 flattened patches an image, with their number (SigLIP 2)."""
    width = 3 * int(find(model.config, "patch_size")) ** 2
    return made | {
        "pixel_values": noise(BATCH, 16, width),
        "pixel_attention_mask": torch.ones(BATCH, 16, dtype=torch.long),
        "spatial_shapes": torch.full((BATCH, 2), 4),
    }


def _sounds_in_a_row(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Two spectrograms one after the other, with their lengths."""
    return {"input_features": noise(model.config.num_mel_bins, 200), "feature_lens": torch.tensor([100, 100])}


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
        config=lambda kind: kind(
            prediction_length=4, context_length=9, label_length=5, lags_sequence=[1, 2], num_time_features=1
        ),
        inputs=lambda model, made: series(past=11, ahead=4),
    ),
    "audio-spectrogram-transformer": Recipe("a long spectrogram", after=_sets(max_length=64)),
    "bamba": Recipe("which layers attend is not said by default", after=_hybrid),
    "clvp": Recipe(
        "takes speech features, too",
        after=_within("speech_config", vocab_size=640),
        inputs=_makes(input_features=lambda c: noise(BATCH, 80, 24)),
    ),
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
    "align_vision_model": Recipe("deep", after=_sets(**_SMALL_NET)),
    "align": Recipe("its vision tower is deep", after=_small_align, steps=(13,)),
    "blip-2": Recipe("an image token is needed", after=_sets(image_token_id=500)),
    "blip_2_qformer": Recipe(
        "attends to image features",
        inputs=_makes(encoder_hidden_states=lambda c: noise(BATCH, 5, c.encoder_hidden_size)),
    ),
    "chameleon": Recipe("an image token is needed", after=_sets(vocabulary_map={"<image>": 4})),
    "clap_audio_model": Recipe(
        "a spectrogram with channels",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, 1, 1001, 64),
            "is_longer": torch.zeros(BATCH, 1, dtype=torch.bool),
        },
    ),
    "clap": Recipe(
        "a spectrogram with channels",
        inputs=_makes(
            input_features=lambda c: noise(BATCH, 1, 1001, 64),
            is_longer=lambda c: torch.zeros(BATCH, 1, dtype=torch.bool),
        ),
    ),
    "blt": Recipe(
        "a large table of hashes; a cache needs what its configuration lacks",
        after=_sets(encoder_hash_byte_group_vocab=500),
        inputs=_makes(use_cache=lambda c: False),
    ),
    "blt_local_decoder": Recipe(
        "reads patches, too",
        inputs=lambda model, made: {
            "inputs_embeds": noise(BATCH, TOKENS, model.config.hidden_size),
            "patch_embeds": noise(BATCH, 5, model.config.hidden_size_global),
        },
    ),
    "blt_local_encoder": Recipe(
        "gathers patches",
        inputs=_makes(
            attention_mask=nothing,
            num_patches=lambda c: 3,
            patch_ids=lambda c: torch.arange(TOKENS).expand(BATCH, -1) // 5,
        ),
    ),
    "csm": Recipe(
        "its codec is another type's",
        model="CsmBackboneModel",
        inputs=lambda model, made: {"input_ids": numbers(100, BATCH, TOKENS, model.config.num_codebooks)},
    ),
    "deepseek_ocr2_vision": Recipe("a large image", steps=(0,)),
    "dots3_note_audio_encoder": Recipe(
        "says how long its sounds are",
        steps=(15,),
        inputs=_makes(
            input_features=lambda c: noise(BATCH, 128, 48), chunk_sample_lengths=lambda c: torch.tensor([7680, 7000])
        ),
    ),
    "inkling_audio": Recipe(
        "one id a band", inputs=_makes(audio_input_ids=lambda c: numbers(16, BATCH, 5, c.n_mel_bins))
    ),
    "inkling_vision": Recipe(
        "channels come last", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 40, 40, 3)}
    ),
    "nemotron3_5_transcribe_audio": Recipe(
        "frames before bands",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, 48, 128),
            "input_features_mask": torch.ones(BATCH, 48, dtype=torch.long),
        },
    ),
    "pp_formulanet_text": Recipe(
        "attends to an image",
        inputs=lambda model, made: {
            "input_ids": numbers(100, BATCH, TARGETS),
            "encoder_hidden_states": noise(BATCH, 5, model.config.d_model),
        },
    ),
    "cohere_compass": Recipe("rotary bases are needed", after=lambda config: _rotary_by_kind(config.text_config)),
    "cohere_compass_text": Recipe("rotary bases are needed", after=_rotary_by_kind),
    "dbrx": Recipe("a base and a bound are needed", after=_within("attn_config", rope_theta=10000.0, clip_qkv=8.0)),
    "deepseek_ocr2_text": Recipe(
        "which layers have experts is not said", after=_sets(mlp_layer_types=["dense", "sparse"], num_hidden_layers=2)
    ),
    "deepseek_ocr2": Recipe(
        "which layers have experts is not said",
        after=_within("text_config", mlp_layer_types=["dense", "sparse"], num_hidden_layers=2),
    ),
    "deepseek_ocr2_encoder": Recipe(
        "patches and as many queries",
        inputs=lambda model, made: {"inputs_embeds": noise(BATCH, 10, model.config.hidden_size), "num_patches": 5},
    ),
    "dia": Recipe(
        "one id a codebook",
        inputs=_makes(decoder_input_ids=lambda c: numbers(100, BATCH, 7, c.decoder_config.num_channels)),
    ),
    "dia_decoder": Recipe(
        "one id a codebook, and what an encoder read",
        inputs=lambda model, made: {
            "input_ids": numbers(100, BATCH, 7, model.config.num_channels),
            "encoder_hidden_states": noise(BATCH, 5, model.config.cross_hidden_size),
        },
    ),
    "diffusion_gemma": Recipe(
        "experts have no number by default",
        after=_within("text_config", num_experts=4, top_k_experts=2, moe_intermediate_size=16),
    ),
    "diffusion_gemma_text": Recipe(
        "experts have no number by default", after=_sets(num_experts=4, top_k_experts=2, moe_intermediate_size=16)
    ),
    "efficientnet": Recipe("deep", after=_sets(**_SMALL_NET, hidden_dim=320), steps=(13,)),
    "emu3": Recipe("an image token is needed", after=_sets(vocabulary_map={"<image>": 4})),
    "fun_asr_nano_encoder": Recipe(
        "stacked frames",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, 48, 560),
            "input_features_mask": torch.ones(BATCH, 48, dtype=torch.long),
        },
    ),
    "gemma3n_audio": Recipe(
        "names of its own",
        inputs=lambda model, made: {
            "audio_mel": noise(BATCH, 64, 128),
            "audio_mel_mask": torch.zeros(BATCH, 64, dtype=torch.bool),
        },
    ),
    "gemma4_audio": Recipe("128 bands", inputs=lambda model, made: {"input_features": noise(BATCH, 64, 128)}),
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
    "granite_speech5_ctc": Recipe("stacked frames", inputs=_makes(input_features=lambda c: noise(BATCH, 24, 320))),
    "granite_speech5_encoder": Recipe("stacked frames", inputs=_makes(input_features=lambda c: noise(BATCH, 24, 320))),
    "idefics2_perceiver": Recipe(
        "resamples image features",
        inputs=lambda model, made: {
            "context": noise(BATCH, 9, model.config.hidden_size),
            "attention_mask": torch.ones(BATCH, 9),
        },
    ),
    "instructblip": Recipe(
        "asks its own questions about the image within the text",
        after=_sets(image_token_index=500),
        inputs=_makes(
            pixel_values=_image,
            qformer_input_ids=lambda c: numbers(100, BATCH, 5),
            input_ids=lambda c: _after_image(c, c.num_query_tokens),
            attention_mask=lambda c: torch.ones(BATCH, c.num_query_tokens + TARGETS, dtype=torch.long),
        ),
    ),
    "instructblipvideo": Recipe(
        "asks its own questions about the film within the text",
        after=_sets(video_token_index=500),
        inputs=_makes(
            pixel_values=lambda c: _image(c, 4),
            qformer_input_ids=lambda c: numbers(100, BATCH, 5),
            input_ids=lambda c: _after_image(c, 4 * c.num_query_tokens),
            attention_mask=lambda c: torch.ones(BATCH, 4 * c.num_query_tokens + TARGETS, dtype=torch.long),
        ),
    ),
    "jamba": Recipe("which layers attend", after=_sets(attn_layer_period=2, attn_layer_offset=1)),
    "kosmos-2": Recipe(
        "an image within the text",
        after=_sets(latent_query_num=6),
        inputs=lambda model, made: {
            "input_ids": numbers(400, BATCH, TOKENS),
            "pixel_values": _image(model.config),
            "image_embeds_position_mask": (torch.arange(TOKENS) < 6).expand(BATCH, -1),
        },
    ),
    "kosmos_2_5_vision_model": Recipe(
        "patches with their places", inputs=lambda model, made: {"flattened_patches": flattened_patches(model, made)}
    ),
    "kyutai_speech_to_text": Recipe(
        "one id a codebook", inputs=lambda model, made: {"input_ids": numbers(100, BATCH, TOKENS, 33)}
    ),
    "lfm2_moe": Recipe("which layers attend", after=_sets(layer_types=["conv", "full_attention"], num_hidden_layers=2)),
    "lightglue": Recipe("compares two images", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 3, 64, 64)}),
    "llama4_vision_model": Recipe(
        "its places fit one image", inputs=lambda model, made: {"pixel_values": made["pixel_values"][:1]}
    ),
    "minicpm_ocr_vision": Recipe("a run of patches", inputs=_strip),
    "minicpmv4_6_vision": Recipe("a run of patches", inputs=_strip),
    "minicpmv4_7_vision": Recipe("a run of patches", inputs=_strip),
    "molmo2_vision": Recipe("a run of patches", inputs=lambda model, made: {"pixel_values": noise(BATCH, 729, 588)}),
    "moonshine_streaming": Recipe("a size is looked for in the wrong place", after=_sets(num_key_value_heads=8)),
    "moshi_depth": Recipe(
        "no more tokens than codebooks, and what another model read",
        inputs=_makes(
            input_ids=lambda c: numbers(100, BATCH, 5), last_hidden_state=lambda c: noise(BATCH, 5, c.input_size)
        ),
    ),
    "muse_glimmer_assistant": Recipe(
        "denoises with a context",
        inputs=lambda model, made: {
            "noise_embeds": noise(BATCH, 7, model.config.hidden_size),
            "context_hidden_states": noise(BATCH, 7, 4 * model.config.hidden_size),
            "attention_mask": torch.ones(BATCH, 14, dtype=torch.long),
        },
    ),
    "muse_glimmer_vision": Recipe("two frames a patch", inputs=_makes(pixel_values=lambda c: noise(48, 1176))),
    "muse_spark_vision": Recipe("two frames a patch", inputs=_makes(pixel_values=lambda c: noise(48, 1176))),
    "muse_spark_audio": Recipe("whole blocks", inputs=lambda model, made: {"input_values": noise(BATCH, 7680)}),
    "musicgen": Recipe("one row of ids a codebook", model="MusicgenForConditionalGeneration", inputs=_written_codes),
    "musicgen_melody": Recipe(
        "one row of ids a codebook", model="MusicgenMelodyForConditionalGeneration", inputs=_written_codes
    ),
    "phi4_multimodal_audio": Recipe(
        "frames that count",
        inputs=lambda model, made: {
            "hidden_states": noise(BATCH, 64, 80),
            "mask": torch.ones(BATCH, 64, dtype=torch.bool),
        },
    ),
    "pix2struct_text_model": Recipe("a field is missing", after=_sets(initializer_range=0.02)),
    "omdet-turbo": Recipe("made for another backbone", after=_sets(backbone_kwargs={})),
    "rf_detr": Recipe("stages and their names", after=_stages, steps=(6,), inputs=_square_windows),
    "lw_detr": Recipe("stages and their names", after=_stages, steps=(6,)),
    "vilt": Recipe("an image belongs to the text", inputs=_makes(pixel_values=_image)),
    "siglip2": Recipe("a run of patches", inputs=_numbered_patches),
    "siglip2_vision_model": Recipe("a run of patches", inputs=_numbered_patches),
    "superglue": Recipe("compares two images", inputs=lambda model, made: {"pixel_values": noise(BATCH, 2, 3, 64, 64)}),
    "xclip_vision_model": Recipe(
        "frames stand in the batch axis",
        inputs=lambda model, made: {"pixel_values": noise(model.config.num_frames, 3, *image_size(model.config))},
    ),
    "udop": Recipe(
        "boxes are fractions of a page",
        inputs=_makes(
            pixel_values=_image,
            bbox=lambda c: torch.cat(
                [noise(BATCH, TOKENS, 2).sigmoid() / 2, noise(BATCH, TOKENS, 2).sigmoid()], dim=-1
            ),
        ),
    ),
    "xmod": Recipe("a language is needed", after=_sets(default_language="en_XX")),
    "tvp": Recipe(
        "a film belongs to the text, and its places fit one",
        after=_sets(num_frames=2),
        inputs=lambda model, made: {
            "input_ids": made["input_ids"][:1],
            "attention_mask": made["attention_mask"][:1],
            "pixel_values": noise(1, model.config.num_frames, 3, 448, 448),
        },
    ),
    "timesfm": Recipe(
        "a series with its frequency",
        inputs=lambda model, made: {
            "past_values": noise(BATCH, 96),
            "past_values_padding": torch.zeros(BATCH, 96, dtype=torch.long),
            "freq": torch.zeros(BATCH, 1, dtype=torch.long),
        },
    ),
    "timesfm2_5": Recipe("a series without channels", inputs=_makes(past_values=lambda c: noise(BATCH, 96))),
    "video_llama_3_vision": Recipe("patches are merged", inputs=_makes(merge_sizes=lambda c: torch.tensor([1, 1]))),
    "videomt": Recipe("takes films", inputs=lambda model, made: {"pixel_values_videos": _image(model.config, 2)}),
    "t5gemma2_decoder": Recipe(
        "a field is missing; attends to an encoder",
        after=_sets(dropout_rate=0.0),
        inputs=_makes(encoder_hidden_states=lambda c: noise(BATCH, 5, c.hidden_size)),
    ),
    "t5gemma2_encoder": Recipe("a field is missing", after=_within("text_config", dropout_rate=0.0)),
    "t5gemma2_text": Recipe("a field is missing", after=_sets(dropout_rate=0.0)),
    "step3p5": Recipe("the window has no default", after=_sets(sliding_window=5)),
    "qwen2_5_omni_thinker": Recipe(
        "tokens are missing", after=_sets(vision_start_token_id=501, vision_end_token_id=502)
    ),
    "qwen3_omni_moe_thinker": Recipe(
        "tokens are missing", after=_sets(vision_start_token_id=501, vision_end_token_id=502)
    ),
    "qwen3_omni_moe_talker_text": Recipe(
        "a field is missing; takes no ids",
        after=_sets(shared_expert_intermediate_size=16),
        inputs=lambda model, made: {"inputs_embeds": noise(BATCH, 5, model.config.hidden_size)},
    ),
    "qwen3_omni_moe_talker_code_predictor": Recipe(
        "takes no ids", inputs=lambda model, made: {"inputs_embeds": noise(BATCH, 5, model.config.hidden_size)}
    ),
    "qwen3_asr_encoder": Recipe(
        "whole blocks",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, model.config.num_mel_bins, 100),
            "input_features_mask": torch.ones(BATCH, 100, dtype=torch.long),
        },
    ),
    "qwen2_5_omni_audio_encoder": Recipe("sounds in a row", inputs=_sounds_in_a_row),
    "qwen3_omni_moe_audio_encoder": Recipe("sounds in a row", inputs=_sounds_in_a_row),
    "sam3_detr_encoder": Recipe("reads features", inputs=_detr_encoder),
    "sam3_lite_text_detr_encoder": Recipe("reads features", inputs=_detr_encoder),
    "sam3_detr_decoder": Recipe("reads features", inputs=_detr_decoder),
    "sam3_lite_text_detr_decoder": Recipe("reads features", inputs=_detr_decoder),
    "sam3_mask_decoder": Recipe("reads features", inputs=_mask_decoder),
    "sam3_lite_text_mask_decoder": Recipe("reads features", inputs=_mask_decoder),
    "sam3": Recipe("a text belongs to the image", inputs=_makes(input_ids=lambda c: numbers(100, BATCH, 8))),
    "sam3_lite_text": Recipe("a text belongs to the image", inputs=_makes(input_ids=lambda c: numbers(100, BATCH, 8))),
    "sam3_lite_text_text_model": Recipe(
        "reads text; its outer layers do not attend",
        steps=(3,),
        inputs=_makes(input_ids=lambda c: numbers(100, BATCH, 8)),
    ),
    "idefics": Recipe(
        "an image belongs to the text",
        inputs=_makes(pixel_values=lambda c: _image(c, 1), image_attention_mask=lambda c: torch.ones(BATCH, TOKENS, 1)),
    ),
    "kimi_k25_vision": Recipe(
        "a run of square patches", inputs=_makes(pixel_values=lambda c: noise(48, 3, c.patch_size, c.patch_size))
    ),
    "seggpt": Recipe(
        "learns from an example above the image",
        inputs=lambda model, made: {
            name: _image(model.config)[:, :, : image_size(model.config)[0] // 2]
            for name in ("pixel_values", "prompt_pixel_values", "prompt_masks")
        },
    ),
    "sam": Recipe("its parts have widths in common", steps=(15,)),
    "sam_hq": Recipe("its parts have widths in common", steps=(15,)),
    "sam2": Recipe("its parts have widths in common", steps=(15,)),
    "sam2_vision_model": Recipe("its parts have widths in common", steps=(15,)),
    "qwen4_exp": Recipe("an indexer's sizes are needed", after=lambda config: _indexed(config.text_config)),
    "qwen4_exp_text": Recipe("an indexer's sizes are needed", after=_indexed),
    "voxtral_realtime": Recipe("hears as it reads", inputs=_makes(input_features=lambda c: noise(BATCH, 128, 104))),
    "voxtral_realtime_text": Recipe(
        "its layers are told the time", inputs=_makes(t_cond=lambda c: noise(1, 1, c.hidden_size))
    ),
    "jev": Recipe(
        "answers a question with options",
        inputs=lambda model, made: {
            "input_ids": made["input_ids"][:1],
            "marks": torch.tensor([[3, 6, 9]]),
            "num_options": torch.tensor([[2, 2, 2]]),
            "question_type_ids": torch.tensor([[0, 0, 0]]),
        },
    ),
    "molmo2_adapter": Recipe(
        "pools features of patches",
        inputs=lambda model, made: {
            "image_features": noise(BATCH, 8, model.image_pooling_2d.q_proj.in_features),
            "pooled_patches_idx": torch.arange(16).view(4, 4),
        },
    ),
    "mimi_decoder": Recipe(
        "reads latents", steps=(13,), inputs=lambda model, made: {"latents": noise(BATCH, model.config.hidden_size, 9)}
    ),
    "pocket_tts_audio_tokenizer_decoder": Recipe(
        "reads latents", steps=(13,), inputs=lambda model, made: {"latents": noise(BATCH, model.config.hidden_size, 9)}
    ),
    "vibevoice_acoustic_tokenizer_encoder": Recipe(
        "one channel of sound", inputs=lambda model, made: {"hidden_states": noise(BATCH, 1, 6400)}
    ),
    "perceiver": Recipe(
        "reads vectors", inputs=lambda model, made: {"inputs": noise(BATCH, TOKENS, model.config.d_model)}
    ),
    "speecht5": Recipe(
        "without what comes before its encoder",
        inputs=lambda model, made: {
            "input_values": noise(BATCH, TOKENS, model.config.hidden_size),
            "decoder_input_values": noise(BATCH, TARGETS, model.config.hidden_size),
        },
    ),
    "speech-encoder-decoder": Recipe("takes sound", inputs=_makes(input_values=lambda c: noise(BATCH, 6400))),
    "unlimited_ocr_vision_encoder": Recipe(
        "reads embedded patches",
        inputs=lambda model, made: {"patch_embeds": noise(BATCH, model.config.hidden_size, 4, 4)},
    ),
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
