"""Tiny models with two copies each: one that is captured, and one that hands its attention matrices over."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from attention_analyzer.models.loading import from_config

VOCABULARY = 31


def model_of(kind: str) -> nn.Module:
    """A tiny random model: "encoder", "decoder" (rotary, grouped keys), "positions" (learned ones), "translator"."""
    small: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "encoder":
        config: Any = BertConfig(
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=16,
            max_position_embeddings=40,
            **small,
        )
        chosen: Any = BertModel
    elif kind == "decoder":
        config, chosen = (
            LlamaConfig(
                hidden_size=24,
                num_hidden_layers=3,
                num_attention_heads=6,
                num_key_value_heads=2,
                intermediate_size=20,
                max_position_embeddings=64,
                **small,
            ),
            LlamaForCausalLM,
        )
    elif kind == "positions":
        config, chosen = GPT2Config(n_embd=12, n_layer=2, n_head=3, n_positions=64, **small), GPT2LMHeadModel
    else:
        small |= {"decoder_start_token_id": 0}
        config = T5Config(d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3, **small)
        chosen = T5ForConditionalGeneration
    return from_config(config, model_class=chosen, seed=3).model.eval()


def ids(*lengths: int, seed: int = 0) -> list[Tensor]:
    """Random ids without special ones."""
    draws = torch.Generator().manual_seed(seed)
    return [torch.randint(5, VOCABULARY, (length,), generator=draws) for length in lengths]


def padded(rows: list[Tensor], side: str) -> dict[str, Tensor]:
    """A batch padded with 0 on the left or right."""
    length = max(map(len, rows))
    batch, mask = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        where = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        batch[number, where], mask[number, where] = row, 1
    return {"input_ids": batch, "attention_mask": mask}


def matrices(model: nn.Module, name: str = "attentions", **inputs: Any) -> tuple[Tensor, ...]:
    """``[batch, head, query, key]`` per layer, by the model's own eager attention, from a copy."""
    copy = deepcopy(model)
    copy.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        return getattr(copy(**inputs, output_attentions=True), name)
