"""Sound: types that read or write waveforms, spectrograms or codes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.conformance.inputs import BATCH, TARGETS, TOKENS, find
from tests.conformance.recipes.recipe import (
    Recipe,
    makes,
    noise,
    numbers,
    sets,
    within,
)


def _codebooks(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """One row of ids a codebook and text."""
    books = int(find(model.config, "num_codebooks"))
    return {"input_ids": numbers(100, BATCH * books, TOKENS)}


def _written_codes(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """A text, and one row of ids a codebook."""
    books = int(find(model.config, "num_codebooks"))
    return made | {"decoder_input_ids": numbers(100, BATCH * books, TARGETS)}


def _sounds_in_a_row(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Two spectrograms one after the other, with their lengths."""
    return {"input_features": noise(model.config.num_mel_bins, 200), "feature_lens": torch.tensor([100, 100])}


def _heard_twice(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """A waveform, and as many frames of its spectrogram as the codec makes of it."""
    frames, hop = 23, 320
    bands = model.config.semantic_model_config.feature_projection_input_dim
    return {"input_values": noise(BATCH, 1, frames * hop), "input_features": noise(BATCH, frames, bands)}


def _few_filters(*parts: str) -> Callable[[Any], None]:
    """Narrow convolutions, of which each stage has twice as many as the one before."""

    def after(config: Any) -> None:
        for part in [config] if not parts else [getattr(config, name) for name in parts]:
            sets(num_filters=4, depths=[1] * 7)(part)

    return after


def _noised_mel(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Three blocks of a spectrogram that is to be denoised, its codes, and the voice that is to speak, for one text."""
    config = model.config
    frames = 5 * config.block_size // 2
    return {
        "hidden_states": noise(1, frames, config.mel_dim),
        "condition_vector": noise(1, 31, config.mel_dim),
        "speaker_embedding": noise(1, frames, config.enc_emb_dim),
        "quantized_code": numbers(100, 1, frames // config.repeats),
        "time_step": torch.tensor(0.3),
    }


def _spoken_codes(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Codes, and the voice that is to speak them."""
    config = model.config.dit_config
    return {
        "code": numbers(100, 1, 5 * config.block_size // 4),
        "conditioning": noise(1, config.enc_emb_dim),
        "reference_mel": noise(1, 31, config.mel_dim),
        "num_steps": 2,
    }


RECIPES: dict[str, Recipe] = {
    "audio-spectrogram-transformer": Recipe("a long spectrogram", after=sets(max_length=64)),
    "clvp": Recipe(
        "takes speech features, too",
        after=within("speech_config", vocab_size=640),
        inputs=makes(input_features=lambda c: noise(BATCH, 80, 24)),
    ),
    "encodec": Recipe("one channel of sound", inputs=lambda model, made: {"input_values": noise(BATCH, 1, 6400)}),
    "musicgen_decoder": Recipe("one row of ids a codebook", inputs=_codebooks),
    "musicgen_melody_decoder": Recipe("one row of ids a codebook", inputs=_codebooks),
    "clap_audio_model": Recipe(
        "a spectrogram with channels",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, 1, 1001, 64),
            "is_longer": torch.zeros(BATCH, 1, dtype=torch.bool),
        },
    ),
    "clap": Recipe(
        "a spectrogram with channels",
        inputs=makes(
            input_features=lambda c: noise(BATCH, 1, 1001, 64),
            is_longer=lambda c: torch.zeros(BATCH, 1, dtype=torch.bool),
        ),
    ),
    "csm": Recipe(
        "its codec is another type's",
        model="CsmBackboneModel",
        inputs=lambda model, made: {"input_ids": numbers(100, BATCH, TOKENS, model.config.num_codebooks)},
    ),
    "dots3_note_audio_encoder": Recipe(
        "says how long its sounds are",
        steps=(15,),
        inputs=makes(
            input_features=lambda c: noise(BATCH, 128, 48), chunk_sample_lengths=lambda c: torch.tensor([7680, 7000])
        ),
    ),
    "inkling_audio": Recipe(
        "one id a band", inputs=makes(audio_input_ids=lambda c: numbers(16, BATCH, 5, c.n_mel_bins))
    ),
    "nemotron3_5_transcribe_audio": Recipe(
        "frames before bands",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, 48, 128),
            "input_features_mask": torch.ones(BATCH, 48, dtype=torch.long),
        },
    ),
    "dia": Recipe(
        "one id a codebook",
        inputs=makes(decoder_input_ids=lambda c: numbers(100, BATCH, 7, c.decoder_config.num_channels)),
    ),
    "dia_decoder": Recipe(
        "one id a codebook, and what an encoder read",
        inputs=lambda model, made: {
            "input_ids": numbers(100, BATCH, 7, model.config.num_channels),
            "encoder_hidden_states": noise(BATCH, 5, model.config.cross_hidden_size),
        },
    ),
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
    "granite_speech5_ctc": Recipe("stacked frames", inputs=makes(input_features=lambda c: noise(BATCH, 24, 320))),
    "granite_speech5_encoder": Recipe("stacked frames", inputs=makes(input_features=lambda c: noise(BATCH, 24, 320))),
    "kyutai_speech_to_text": Recipe(
        "one id a codebook", inputs=lambda model, made: {"input_ids": numbers(100, BATCH, TOKENS, 33)}
    ),
    "moonshine_streaming": Recipe("a size is looked for in the wrong place", after=sets(num_key_value_heads=8)),
    "moshi_depth": Recipe(
        "no more tokens than codebooks, and what another model read",
        inputs=makes(
            input_ids=lambda c: numbers(100, BATCH, 5), last_hidden_state=lambda c: noise(BATCH, 5, c.input_size)
        ),
    ),
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
    "qwen3_asr_encoder": Recipe(
        "whole blocks",
        inputs=lambda model, made: {
            "input_features": noise(BATCH, model.config.num_mel_bins, 100),
            "input_features_mask": torch.ones(BATCH, 100, dtype=torch.long),
        },
    ),
    "qwen2_5_omni_audio_encoder": Recipe("sounds in a row", inputs=_sounds_in_a_row),
    "qwen3_omni_moe_audio_encoder": Recipe("sounds in a row", inputs=_sounds_in_a_row),
    "voxtral_realtime": Recipe("hears as it reads", inputs=makes(input_features=lambda c: noise(BATCH, 128, 104))),
    "mimi_decoder": Recipe(
        "reads latents", steps=(13,), inputs=lambda model, made: {"latents": noise(BATCH, model.config.hidden_size, 9)}
    ),
    "pocket_tts_audio_tokenizer_decoder": Recipe(
        "reads latents", steps=(13,), inputs=lambda model, made: {"latents": noise(BATCH, model.config.hidden_size, 9)}
    ),
    "vibevoice_acoustic_tokenizer_encoder": Recipe(
        "one channel of sound", inputs=lambda model, made: {"hidden_states": noise(BATCH, 1, 6400)}
    ),
    "vibevoice_acoustic_tokenizer_decoder": Recipe(
        "reads latents",
        after=_few_filters(),
        steps=(0,),
        inputs=lambda model, made: {"hidden_states": noise(BATCH, model.config.hidden_size, 9)},
    ),
    "vibevoice": Recipe(
        "thousands of filters",
        after=_few_filters("audio_config", "semantic_model_config"),
        steps=(0,),
        inputs=makes(attention_mask=lambda c: torch.ones(BATCH, TOKENS, dtype=torch.long)),
    ),
    "vibevoice_asr": Recipe(
        "thousands of filters",
        after=_few_filters("acoustic_tokenizer_encoder_config", "semantic_tokenizer_encoder_config"),
        steps=(0,),
    ),
    "neucodec": Recipe("hears a waveform and its spectrogram", steps=(0,), inputs=_heard_twice),
    "xcodec2": Recipe("hears a waveform and its spectrogram", steps=(0,), inputs=_heard_twice),
    "qwen2_5_omni_bigvgan": Recipe(
        "reads a spectrogram",
        after=sets(upsample_initial_channel=192),
        steps=(0,),
        inputs=lambda model, made: {"mel_spectrogram": noise(BATCH, 80, 11)},
    ),
    "qwen2_5_omni_dit": Recipe("denoises a spectrogram", steps=(0,), inputs=_noised_mel, backend="sdpa"),
    "qwen2_5_omni_token2wav": Recipe(
        "speaks codes",
        after=within("bigvgan_config", upsample_initial_channel=192),
        steps=(0,),
        inputs=_spoken_codes,
        backend="sdpa",
    ),
    "speecht5": Recipe(
        "without what comes before its encoder",
        inputs=lambda model, made: {
            "input_values": noise(BATCH, TOKENS, model.config.hidden_size),
            "decoder_input_values": noise(BATCH, TARGETS, model.config.hidden_size),
        },
    ),
    "speech-encoder-decoder": Recipe("takes sound", inputs=makes(input_values=lambda c: noise(BATCH, 6400))),
}
