"""torch's fused encoder layer and fused multi-head attention, which compute everything in one operation.

``nn.TransformerEncoderLayer`` and ``nn.MultiheadAttention`` take this path in inference. It stays on: the operation
runs as it would alone, and queries and keys are computed once more from the operation's own arguments. That they are
the right ones is shown by its output, of which some rows are rebuilt from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, relu, scaled_dot_product_attention

from attention_analyzer.errors import CaptureError
from attention_analyzer.hooks.calls import TOLERANCE
from attention_analyzer.hooks.interface_hook import AttentionCall

LAYER = torch.ops.aten._transformer_encoder_layer_fwd.default
ATTENTION = torch.ops.aten._native_multi_head_attention.default
_ROWS_CHECKED = 4


@dataclass(frozen=True)
class _Heads:
    """Queries, keys and values ``[batch, head, token, channel]``; what is seen, ``[batch, 1 or head, query, key]``."""

    query: Tensor
    key: Tensor
    value: Tensor
    seen: Tensor | None


def fused_call(
    func: Any, given: Mapping[str, Any], result: Any, module: nn.Module, name: str
) -> tuple[AttentionCall, Tensor]:
    """The attention call within a fused operation, and its output ``[batch, query, head, channel]``.

    Args:
        func: :data:`LAYER` or :data:`ATTENTION`.
        given: the operation's arguments by name.
        result: what it returned.

    Raises:
        CaptureError: what is computed from the arguments does not give the operation's output.
    """
    if func is LAYER:
        source, expected, lengths = _padded(given["src"], result)
        normed = _norm(source, given, 1) if given["norm_first"] else source
        heads = _heads(given, (normed, normed, normed), given["num_heads"], lengths)
    else:
        source, expected, lengths = _padded(given["query"], result[0])
        key, value = (_padded(given[side], result[0])[0] for side in ("key", "value"))
        heads = _heads(given, (source, key, value), given["num_head"], lengths)
    attended = scaled_dot_product_attention(heads.query, heads.key, heads.value, heads.seen).transpose(1, 2)
    rebuilt = linear(attended.flatten(2), given["proj_weight"], given["proj_bias"])
    if func is LAYER:
        rebuilt = _rest_of_layer(source, rebuilt, given)
    _check(rebuilt, expected, heads.seen, name)
    call = AttentionCall(
        module=module,
        name=name,
        backend="torch's fused layer",
        query=heads.query,
        key=heads.key,
        value=heads.value,
        mask=heads.seen,
    )
    return call, attended


def _padded(given: Tensor, result: Tensor) -> tuple[Tensor, Tensor, list[int] | None]:
    """A nested batch (texts without their padding) as a padded one, with the texts' lengths."""
    if not given.is_nested:
        return given, result, None
    lengths = [len(text) for text in given.unbind()]
    return given.to_padded_tensor(0.0), result.to_padded_tensor(0.0), lengths


def _heads(
    given: Mapping[str, Any], sides: tuple[Tensor, Tensor, Tensor], count: int, lengths: list[int] | None
) -> _Heads:
    weight, bias = given["qkv_weight"].chunk(3), given["qkv_bias"].chunk(3)
    query, key, value = (
        linear(side, of_weight, of_bias).unflatten(-1, (count, -1)).transpose(1, 2)
        for side, of_weight, of_bias in zip(sides, weight, bias, strict=True)
    )
    return _Heads(query, key, value, _seen(given, query, key, lengths))


def _seen(given: Mapping[str, Any], query: Tensor, key: Tensor, lengths: list[int] | None) -> Tensor | None:
    """bool, True where a query sees a key. The operation takes any mask as bool, True where it does not."""
    if lengths is not None:
        places = torch.arange(key.shape[2], device=key.device)
        return (places < torch.tensor(lengths, device=key.device)[:, None])[:, None, None]
    mask = given.get("mask")
    if mask is None:
        return None
    hidden = mask.to(torch.bool)
    if given.get("mask_type") == 1:  # of keys, [batch, key]
        hidden = hidden[:, None, None]
    elif hidden.dim() == 2:
        hidden = hidden[None, None]
    return ~hidden.expand(-1, -1, query.shape[2], -1)


def _norm(source: Tensor, given: Mapping[str, Any], number: int) -> Tensor:
    return layer_norm(
        source, source.shape[-1:], given[f"norm_weight_{number}"], given[f"norm_bias_{number}"], given["eps"]
    )


def _rest_of_layer(source: Tensor, attended: Tensor, given: Mapping[str, Any]) -> Tensor:
    act = gelu if given["use_gelu"] else relu

    def feed_forward(states: Tensor) -> Tensor:
        inner = act(linear(states, given["ffn_weight_1"], given["ffn_bias_1"]))
        return linear(inner, given["ffn_weight_2"], given["ffn_bias_2"])

    states = source + attended
    if given["norm_first"]:
        return states + feed_forward(_norm(states, given, 2))
    states = _norm(states, given, 1)
    return _norm(states + feed_forward(states), given, 2)


def _check(rebuilt: Tensor, expected: Tensor, seen: Tensor | None, name: str) -> None:
    """Compare rows of texts' own tokens; padding holds whatever it holds."""
    difference = (rebuilt - expected).abs().amax(-1)
    if seen is not None and seen.shape[-1] == difference.shape[-1]:
        is_text = seen.any(1).any(1).expand(difference.shape[0], -1)
        difference = difference.masked_fill(~is_text | ~seen.any(-1).any(1).expand_as(difference), 0)
    finite = difference[torch.isfinite(difference)]
    relative = float(finite.max() / expected.abs().nan_to_num().max().clamp_min(1e-12)) if finite.numel() else 0.0
    if relative > TOLERANCE.get(expected.dtype, 1e-4):
        raise CaptureError(
            f"The output of {name} in torch's fused layer differs by {relative:.1e} (relative) from what its queries "
            "and keys give, so no weights are shown; run it with gradients enabled, where it takes the usual path."
        )
