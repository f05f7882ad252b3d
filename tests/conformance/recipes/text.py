"""Text and series: types that read tokens, bytes, steps or numbers over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

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

_KINDS = ["sliding_attention", "full_attention"]


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


def _drafter(kind: type) -> Any:
    """All layers of an assistant share keys; this version only builds a model some of whose layers have their own."""
    text = {"num_hidden_layers": 4, "num_kv_shared_layers": 4, "layer_types": _KINDS * 2}
    return kind(text_config=text | {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0})


def _drafts(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """What another model read, and its keys and values for each kind of layer."""
    own = {layer.self_attn.layer_type: layer.self_attn for layer in model.model.layers[:2]}
    states = {
        kind: (noise(BATCH, heads, TOKENS, module.head_dim), noise(BATCH, heads, TOKENS, module.head_dim))
        for kind, module in own.items()
        for heads in (module.k_proj.out_features // module.head_dim,)
    }
    return {
        "inputs_embeds": noise(BATCH, TOKENS, 2 * model.config.backbone_hidden_size),
        "position_ids": torch.arange(TOKENS).expand(BATCH, -1),
        "shared_kv_states": states,
        "output_hidden_states": True,  # or queries are left out halfway
    }


def _protein(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """One chain of residues with two atoms each."""
    from transformers.models.esmfold2.modeling_esmfold2 import EsmFold2AtomInputs

    places = torch.arange(TOKENS).expand(BATCH, -1)
    zeros, atoms = torch.zeros_like(places), places.repeat_interleave(2, dim=1)
    return {
        "token_index": places,
        "residue_index": places,
        **dict.fromkeys(("asym_id", "sym_id", "entity_id", "mol_type"), zeros),
        "res_type": numbers(20, BATCH, TOKENS),
        "token_bonds": torch.zeros(BATCH, TOKENS, TOKENS, 1),
        "attention_mask": torch.ones(BATCH, TOKENS, dtype=torch.bool),
        "atom_inputs": EsmFold2AtomInputs(
            ref_pos=noise(*atoms.shape, 3),
            ref_charge=torch.zeros(atoms.shape),
            atom_attention_mask=torch.ones(atoms.shape, dtype=torch.bool),
            ref_element=numbers(20, *atoms.shape),
            ref_atom_name_chars=numbers(60, *atoms.shape, 4),
            ref_space_uid=atoms,
            atom_to_token=atoms,
        ),
        "input_ids": 4 + numbers(20, BATCH, TOKENS),
    }


def _narrow_atoms(config: Any) -> None:
    """Heads as wide as a place in space needs them, and sums of parts."""
    module = config.structure_head.diffusion_module
    for atoms in (config.atom_encoder, module.atom_encoder):
        sets(hidden_size=64, num_attention_heads=2, head_dim=32)(atoms)
    module.atom_encoder.output_dim = module.hidden_size
    config.single_inputs_size = config.atom_encoder.output_dim + 2 * config.num_res_types + 1
    config.num_loops = 1


def _retrieved(model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    """Two documents a question, with their scores."""
    return {
        "decoder_input_ids": numbers(400, BATCH, TARGETS),
        "context_input_ids": numbers(400, BATCH * 2, TOKENS),
        "context_attention_mask": torch.ones(BATCH * 2, TOKENS, dtype=torch.long),
        "doc_scores": noise(BATCH, 2),
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
    "rag": Recipe("reads documents that a retriever found", after=sets(n_docs=2), inputs=_retrieved),
    "gemma4_assistant": Recipe(
        "drafts from another model's keys",
        config=_drafter,
        after=within("text_config", num_kv_shared_layers=2),
        steps=(3,),
        inputs=_drafts,
    ),
    "gemma4_unified_assistant": Recipe(
        "drafts from another model's keys",
        config=_drafter,
        after=within("text_config", num_kv_shared_layers=2),
        steps=(3,),
        inputs=_drafts,
    ),
    "esmfold2": Recipe("folds a protein of atoms", after=_narrow_atoms, steps=(0,), inputs=_protein),
}
