"""Attention in bands and blocks is one array a head: against a softmax written out, the same at every call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BigBirdConfig,
    BigBirdModel,
    BigBirdPegasusConfig,
    BigBirdPegasusModel,
    LEDConfig,
    LEDModel,
    LongformerConfig,
    LongformerModel,
)

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.hooks.verification import verify_model

_ENCODER: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "sep_token_id": 2,
}
_TWO_STACKS: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}


def record(model: nn.Module, **inputs: Any) -> AttentionRecord:
    """A record, the same when made again, of a model whose outputs are the same bits with and without."""
    proof = verify_model(model, inputs)
    assert proof.holds
    assert proof.row_error < 1e-5
    analyzer = AttentionAnalyzer(model, cache=False)
    first, second = analyzer.record(inputs=inputs), analyzer.record(inputs=inputs)
    for one, other in zip(first.entries, second.entries, strict=True):
        assert torch.equal(one.weights.full(), other.weights.full())
    return first


def ids(tokens: int) -> Tensor:
    return torch.randint(3, 61, (1, tokens), generator=torch.Generator().manual_seed(1))


def scores(model: nn.Module, path: str, kind: str = "") -> Tensor:
    """``[head, query, key]`` of the module at a path, from its own projections of what it read."""
    module: Any = model.get_submodule(path)
    found: list[Tensor] = []
    hook = module.register_forward_pre_hook(
        lambda module, args, kwargs: found.append((*args, *kwargs.values())[0]), with_kwargs=True
    )
    with torch.no_grad():
        model(input_ids=ids(37))
    hook.remove()
    query, key = (
        getattr(module, f"{side}{kind}")(found[0])[0].unflatten(-1, (3, -1)).transpose(0, 1)
        for side in ("query", "key")
    )
    return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5)[:, :37, :37].detach()


def test_a_band_around_each_token() -> None:
    """37 tokens, which the model pads to 40: what it appended is not shown."""
    torch.manual_seed(0)
    model = LongformerModel(LongformerConfig(**_ENCODER, attention_window=8)).eval()
    seen = record(model, input_ids=ids(37))
    distance = torch.arange(37)[:, None] - torch.arange(37)
    expected = scores(model, "encoder.layer.0.attention.self").masked_fill(distance.abs() > 4, -torch.inf).softmax(-1)
    torch.testing.assert_close(seen.entries[0].weights.full(), expected, atol=1e-5, rtol=0)


def test_tokens_that_all_see_and_that_see_all() -> None:
    torch.manual_seed(0)
    model = LongformerModel(LongformerConfig(**_ENCODER, attention_window=8)).eval()
    everywhere = torch.zeros(1, 37, dtype=torch.long)
    everywhere[0, [0, 20]] = 1
    seen = record(model, input_ids=ids(37), global_attention_mask=everywhere).entries[0].weights.full()
    distance = torch.arange(37)[:, None] - torch.arange(37)
    hidden = (distance.abs() > 4) & ~everywhere.bool()
    expected = scores(model, "encoder.layer.0.attention.self").masked_fill(hidden, -torch.inf).softmax(-1)
    apart = scores(model, "encoder.layer.0.attention.self", "_global").softmax(-1)
    expected[:, [0, 20]] = apart[:, [0, 20]]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_blocks_of_which_some_are_drawn_at_random() -> None:
    torch.manual_seed(0)
    model = BigBirdModel(BigBirdConfig(**_ENCODER, block_size=4, num_random_blocks=2, attention_type="block_sparse"))
    seen = record(model.eval(), input_ids=ids(37)).entries[0].weights.full()
    expected = scores(model, "encoder.layer.0.attention.self").softmax(-1)
    for whole in (slice(0, 4), slice(36, 37)):  # the first and the last block see everything
        torch.testing.assert_close(seen[:, whole], expected[:, whole], atol=1e-5, rtol=0)
    blocks = set((seen[:, 12:16].amax((0, 1))[:36].view(9, 4).amax(-1) > 0).nonzero()[:, 0].tolist())
    assert {0, 2, 3, 4} <= blocks < set(range(9))


@pytest.mark.parametrize("kind", ["led", "bigbird_pegasus"])
def test_encoders_of_two_stacks(kind: str) -> None:
    torch.manual_seed(0)
    model: nn.Module
    if kind == "led":
        limits = {"max_encoder_position_embeddings": 128, "max_decoder_position_embeddings": 32}
        model = LEDModel(LEDConfig(**_TWO_STACKS, **limits, attention_window=8)).eval()
    else:
        model = BigBirdPegasusModel(
            BigBirdPegasusConfig(**_TWO_STACKS, max_position_embeddings=128, block_size=4, num_random_blocks=2)
        ).eval()
    seen = record(model, input_ids=ids(37), decoder_input_ids=ids(5))
    assert [site.name for site in seen.sites] == [
        "encoder.self.0",
        "encoder.self.1",
        "decoder.self.0",
        "decoder.cross.0",
    ]
    assert seen.entries[0].weights.shape == (3, 37, 37)
    assert "not_captured" not in seen.notes


def test_a_short_text_leaves_the_sparse_attention_of_longer_ones() -> None:
    """BigBird puts full attention in place of its blocks when it reads a short text, and keeps it."""
    torch.manual_seed(0)
    model = BigBirdModel(BigBirdConfig(**_ENCODER, block_size=4, num_random_blocks=2, attention_type="block_sparse"))
    analyzer = AttentionAnalyzer(model.eval(), cache=False)
    modules = dict(model.named_modules())
    long = analyzer.record(inputs={"input_ids": ids(37)})

    short = analyzer.record(inputs={"input_ids": ids(9)})
    full = BigBirdModel(BigBirdConfig(**_ENCODER, attention_type="original_full")).eval()
    full.load_state_dict(model.state_dict())
    expected = full(input_ids=ids(9), output_attentions=True).attentions[0][0]
    torch.testing.assert_close(short.weights(0), expected, atol=1e-5, rtol=0)

    assert dict(model.named_modules()) == modules
    assert {model.attention_type, model.encoder.layer[1].attention.attention_type} == {"block_sparse"}
    again = analyzer.record(inputs={"input_ids": ids(37)})
    assert torch.equal(again.weights(0), long.weights(0))
    assert again.fingerprint == long.fingerprint == short.fingerprint
