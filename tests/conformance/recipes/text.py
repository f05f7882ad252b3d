"""Text and series: types that read tokens, bytes, steps or numbers over time."""

from __future__ import annotations

from typing import Any

import torch

from tests.conformance.inputs import BATCH, TARGETS, TOKENS
from tests.conformance.recipes.recipe import (
    Recipe,
    indexed,
    makes,
    noise,
    nothing,
    numbers,
    rotary_by_kind,
    sets,
    within,
)


def _hybrid(config: Any) -> None:
    """Two state-space layers and one of attention."""
    config.num_hidden_layers = 3
    config.attn_layer_indices = [1]


def series(past: int, ahead: int) -> dict[str, Any]:
    """A time series with its time features, and what is to be forecast."""
    return {
        "past_values": noise(BATCH, past),
        "past_time_features": noise(BATCH, past, 1),
        "past_observed_mask": torch.ones(BATCH, past),
        "future_values": noise(BATCH, ahead),
        "future_time_features": noise(BATCH, ahead, 1),
    }


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
    "bamba": Recipe("which layers attend is not said by default", after=_hybrid),
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
        after=sets(n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1),
    ),
    "esm": Recipe("a padding token is needed", after=sets(pad_token_id=1, mask_token_id=2, vocab_size=33)),
    "granitemoehybrid": Recipe(
        "which layers attend is not said by default",
        after=sets(num_hidden_layers=3, layer_types=["linear_attention", "full_attention", "linear_attention"]),
    ),
    "step3p7": Recipe("the window has no default", after=within("text_config", sliding_window=5)),
    "blt": Recipe(
        "a large table of hashes; a cache needs what its configuration lacks",
        after=sets(encoder_hash_byte_group_vocab=500),
        inputs=makes(use_cache=lambda c: False),
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
        inputs=makes(
            attention_mask=nothing,
            num_patches=lambda c: 3,
            patch_ids=lambda c: torch.arange(TOKENS).expand(BATCH, -1) // 5,
        ),
    ),
    "pp_formulanet_text": Recipe(
        "attends to an image",
        inputs=lambda model, made: {
            "input_ids": numbers(100, BATCH, TARGETS),
            "encoder_hidden_states": noise(BATCH, 5, model.config.d_model),
        },
    ),
    "cohere_compass_text": Recipe("rotary bases are needed", after=rotary_by_kind),
    "dbrx": Recipe("a base and a bound are needed", after=within("attn_config", rope_theta=10000.0, clip_qkv=8.0)),
    "deepseek_ocr2_text": Recipe(
        "which layers have experts is not said", after=sets(mlp_layer_types=["dense", "sparse"], num_hidden_layers=2)
    ),
    "diffusion_gemma_text": Recipe(
        "experts have no number by default", after=sets(num_experts=4, top_k_experts=2, moe_intermediate_size=16)
    ),
    "jamba": Recipe("which layers attend", after=sets(attn_layer_period=2, attn_layer_offset=1)),
    "lfm2_moe": Recipe("which layers attend", after=sets(layer_types=["conv", "full_attention"], num_hidden_layers=2)),
    "muse_glimmer_assistant": Recipe(
        "denoises with a context",
        inputs=lambda model, made: {
            "noise_embeds": noise(BATCH, 7, model.config.hidden_size),
            "context_hidden_states": noise(BATCH, 7, 4 * model.config.hidden_size),
            "attention_mask": torch.ones(BATCH, 14, dtype=torch.long),
        },
    ),
    "pix2struct_text_model": Recipe("a field is missing", after=sets(initializer_range=0.02)),
    "xmod": Recipe("a language is needed", after=sets(default_language="en_XX")),
    "timesfm": Recipe(
        "a series with its frequency",
        inputs=lambda model, made: {
            "past_values": noise(BATCH, 96),
            "past_values_padding": torch.zeros(BATCH, 96, dtype=torch.long),
            "freq": torch.zeros(BATCH, 1, dtype=torch.long),
        },
    ),
    "timesfm2_5": Recipe("a series without channels", inputs=makes(past_values=lambda c: noise(BATCH, 96))),
    "t5gemma2_decoder": Recipe(
        "a field is missing; attends to an encoder",
        after=sets(dropout_rate=0.0),
        inputs=makes(encoder_hidden_states=lambda c: noise(BATCH, 5, c.hidden_size)),
    ),
    "t5gemma2_encoder": Recipe("a field is missing", after=within("text_config", dropout_rate=0.0)),
    "t5gemma2_text": Recipe("a field is missing", after=sets(dropout_rate=0.0)),
    "step3p5": Recipe("the window has no default", after=sets(sliding_window=5)),
    "qwen3_omni_moe_talker_text": Recipe(
        "a field is missing; takes no ids",
        after=sets(shared_expert_intermediate_size=16),
        inputs=lambda model, made: {"inputs_embeds": noise(BATCH, 5, model.config.hidden_size)},
    ),
    "qwen3_omni_moe_talker_code_predictor": Recipe(
        "takes no ids", inputs=lambda model, made: {"inputs_embeds": noise(BATCH, 5, model.config.hidden_size)}
    ),
    "sam3_lite_text_text_model": Recipe(
        "reads text; its outer layers do not attend",
        steps=(3,),
        inputs=makes(input_ids=lambda c: numbers(100, BATCH, 8)),
    ),
    "qwen4_exp_text": Recipe("an indexer's sizes are needed", after=indexed),
    "voxtral_realtime_text": Recipe(
        "its layers are told the time", inputs=makes(t_cond=lambda c: noise(1, 1, c.hidden_size))
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
    "perceiver": Recipe(
        "reads vectors", inputs=lambda model, made: {"inputs": noise(BATCH, TOKENS, model.config.d_model)}
    ),
}
