"""Attention computed in blocks and bands, put together as one ``[query, key]`` array a head.

Longformer, LED and BigBird multiply values with pieces of their weights, none of which is a head's whole row. Each of
their modules can say all of its weights in a form of its own; here that form becomes the usual one. That the weights
are those that were used is shown by the module's output, which they and the values must give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import CaptureError
from attention_analyzer.hooks.calls import TOLERANCE


@dataclass(frozen=True)
class Run:
    """One run of a module: its arguments by name, and what it returned."""

    given: Mapping[str, Any]
    output: Any

    @property
    def hidden(self) -> Tensor:
        """``[batch, token, channel]``"""
        states: Tensor = self.given["hidden_states"]
        return states


def sparse_weights(module: nn.Module, run: Run, name: str) -> Tensor:
    """The weights ``[batch, head, query, key]`` of a module in :data:`SPARSE`, without what the model appended.

    Raises:
        CaptureError: weights and values do not give the module's output.
    """
    weights, masked, attended = SPARSE[type(module).__name__](module, run)
    rebuilt = attended(weights).transpose(1, 2).flatten(2)
    kept = ~masked[..., None]
    expected = run.output[0]
    scale = float(expected.masked_fill(~kept, 0).abs().max())
    relative = float((rebuilt - expected).masked_fill(~kept, 0).abs().max()) / (scale or 1.0)
    if relative > TOLERANCE.get(expected.dtype, 1e-4):
        raise CaptureError(
            f"The output of {name} ({type(module).__name__}) differs by {relative:.1e} (relative) from what its "
            "weights and values give, so no weights are shown; report its architecture."
        )
    length = int((~masked).any(0).nonzero().max()) + 1
    return weights[:, :, :length, :length]


#: The weights; bool ``[batch, token]``, True for padding; and what weights make of the module's own values.
Rebuilt = tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]


def _split(states: Tensor, heads: int) -> Tensor:
    """``[batch, token, channel]`` → ``[batch, head, token, channel]``"""
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def _longformer(module: Any, run: Run) -> Rebuilt:
    """A window around each token, and tokens that see and are seen by all, whose rows are computed apart."""
    given = dict(run.given) | {"output_attentions": True}
    _, banded, *of_global = module.forward(**given)
    batch, tokens, heads, width = banded.shape
    side = module.one_sided_attn_window_size
    extra = width - (2 * side + 1)
    is_global = given.get("is_index_global_attn") if given.get("is_global_attn") else None
    weights = banded.new_zeros(batch, tokens, heads, tokens + 2 * side)
    places = torch.arange(tokens, device=banded.device)[:, None] + torch.arange(2 * side + 1, device=banded.device)
    weights.scatter_(3, places[None, :, None].expand(batch, -1, heads, -1), banded[..., extra:])
    weights = weights[..., side : side + tokens].transpose(1, 2)
    if is_global is not None:
        for text in range(batch):
            seen_by_all = is_global[text].nonzero()[:, 0]
            count = len(seen_by_all)
            weights[text, :, :, seen_by_all] += banded[text, :, :, :count].transpose(0, 1)
            weights[text, :, seen_by_all] = of_global[0][text, :, :count]
    masked = given["is_index_masked"]

    def attended(rows: Tensor) -> Tensor:
        usual = rows @ _split(module.value(run.hidden), heads)
        if is_global is None:
            return usual
        return torch.where(is_global[:, None, :, None], rows @ _split(module.value_global(run.hidden), heads), usual)

    return weights, masked, attended


def _big_bird(module: Any, run: Run) -> Rebuilt:
    """Blocks: the first and the last, neighbors, and some drawn at random, which may be others of these once more.

    Output is linear in the values. With values that are one for one key each, the output is the weights.
    """
    batch, tokens, _ = run.hidden.shape
    heads, size = module.num_attention_heads, module.block_size
    query, key = (_split(side(run.hidden), heads) for side in (module.query, module.key))
    one_each = torch.eye(tokens, dtype=query.dtype, device=query.device).expand(batch, heads, -1, -1).contiguous()
    masks = ("band_mask", "from_mask", "to_mask", "from_blocked_mask", "to_blocked_mask")
    found, _ = module.bigbird_block_sparse_attention(
        query,
        key,
        one_each,
        *(run.given[mask] for mask in masks),
        n_heads=heads,
        n_rand_blocks=module.num_random_blocks,
        attention_head_size=module.attention_head_size,
        from_block_size=size,
        to_block_size=size,
        batch_size=batch,
        from_seq_len=tokens,
        to_seq_len=tokens,
        seed=module.seed,
        plan_from_length=None,
        plan_num_rand_blocks=None,
    )
    weights = found.transpose(1, 2)
    masked = run.given["to_mask"][:, 0, 0] == 0

    return weights, masked, lambda rows: rows @ _split(module.value(run.hidden), heads)


#: By class name, how a module's weights are put together.
SPARSE: Mapping[str, Callable[[Any, Run], Rebuilt]] = {
    "LongformerSelfAttention": _longformer,
    "LEDEncoderSelfAttention": _longformer,
    "BigBirdBlockSparseAttention": _big_bird,
    "BigBirdPegasusBlockSparseAttention": _big_bird,
}
