"""Tiny models with random weights, one for each form of attention; heads differ, and no axis has another's size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

BATCH, TOKENS, TARGETS = 3, 11, 7
_TEXT: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_attention_heads": 6,
    "num_hidden_layers": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = _TEXT | {"num_key_value_heads": 2, "head_dim": 8}
_TWO_STACKS: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_T5: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 24,
    "d_kv": 5,
    "num_heads": 6,
    "num_layers": 2,
    "d_ff": 20,
    "decoder_start_token_id": 0,
}
_LATENT: dict[str, Any] = {
    "q_lora_rank": 10,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 6,
}
#: What is special about each, and its configuration.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "encoder": ("bert", _TEXT),
    "shared layers": ("albert", _TEXT | {"embedding_size": 12, "num_hidden_layers": 3}),
    "grouped queries": ("llama", _GROUPED),
    "learned positions": ("gpt2", {"vocab_size": 61, "n_embd": 24, "n_head": 6, "n_layer": 2, "n_positions": 64}),
    "sliding window": ("mistral", _GROUPED | {"sliding_window": 4}),
    "softcap and mixed windows": ("gemma2", _GROUPED | {"sliding_window": 4, "attn_logit_softcapping": 1.5}),
    "sinks": ("gpt_oss", _GROUPED | {"sliding_window": 4, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "latent keys": ("deepseek_v3", _TEXT | _LATENT),
    "position bias and cross-attention": ("t5", _T5),
    "ALiBi": ("bloom", {"vocab_size": 61, "hidden_size": 24, "n_head": 6, "n_layer": 2}),
    "cross-attention": ("bart", _TWO_STACKS),
    "vision": ("vit", {"hidden_size": 24, "num_attention_heads": 6, "num_hidden_layers": 2, "intermediate_size": 20,
                       "image_size": 24, "patch_size": 8}),
}  # fmt: skip
#: Forms that only know eager attention.
EAGER_ONLY = ("softcap and mixed windows", "sinks", "ALiBi")
BACKENDS = [(form, backend) for form in FORMS for backend in ("eager", "sdpa")
            if backend == "eager" or form not in EAGER_ONLY]  # fmt: skip
#: Forms that take a text and nothing else.
ONE_TEXT = [form for form, (kind, _) in FORMS.items() if kind not in ("t5", "bart", "vit")]
DECODERS = [form for form in ONE_TEXT if FORMS[form][0] not in ("bert", "albert")]


def make(
    form: str, backend: str = "eager", *, seed: int = 3, build: Callable[[Any], nn.Module] | None = None
) -> nn.Module:
    """The model of a form, in evaluation mode."""
    kind, sizes = FORMS[form]
    config = AutoConfig.for_model(kind, **sizes)
    if kind in ("gpt_oss", "deepseek_v3"):
        config._experts_implementation = "eager"
    config._attn_implementation = backend
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (build or AutoModel.from_config)(config)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                spread = 0.7 if "embed" in name or "wte" in name else parameter.shape[-1] ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=numbers) * spread)
            elif "sink" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=numbers))
    return model.eval()


def words(batch: int = BATCH, tokens: int = TOKENS, seed: int = 5) -> Tensor:
    return torch.randint(3, 61, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def inputs_of(form: str) -> dict[str, Tensor]:
    kind = FORMS[form][0]
    if kind == "vit":
        return {"pixel_values": torch.randn(BATCH, 3, 24, 24, generator=torch.Generator().manual_seed(5))}
    made = {"input_ids": words(), "attention_mask": torch.ones(BATCH, TOKENS, dtype=torch.long)}
    if kind in ("t5", "bart"):
        made["decoder_input_ids"] = words(tokens=TARGETS, seed=6)
    return made
