"""A direct call of torch's flex attention, whose scores may be changed and masked by any function of their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import flex_attention as module

from attention_analyzer.cleanup import undone
from attention_analyzer.errors import CaptureError
from attention_analyzer.hooks.calls import TOLERANCE
from attention_analyzer.locks import ForkSafeLock

FLEX = torch.ops.higher_order.flex_attention
_lock = ForkSafeLock()
#: Blocks that need the switch.
_blocks: set[object] = set()
_before = module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG


@contextmanager
def as_one_operation() -> Iterator[None]:
    """Let a direct call reach the operation: torch compiles it on the way, which it refuses to do while it is watched.

    What the call computes is the same. The switch is torch's own, for debugging; it is global, so it is counted.
    """
    block = object()

    def undo() -> None:
        with _lock():
            _blocks.discard(block)
            module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = _before or bool(_blocks)

    with undone(undo):
        with _lock():
            _blocks.add(block)
            module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
        yield


def flex_weights(given: Mapping[str, Any], output: Tensor, name: str) -> Tensor:
    """The weights ``[batch, head, query, key]`` of a call, from its own functions of scores and of places.

    Args:
        given: the call's arguments by name.
        output: ``[batch, head, query, channel]``, what it returned.

    Raises:
        CaptureError: they do not give the output.
    """
    query, key, value = given["query"], given["key"], given["value"]
    batch, heads, queries, _ = query.shape
    key, value = (
        side.expand(batch, -1, -1, -1).repeat_interleave(heads // side.shape[1], dim=1) for side in (key, value)
    )
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    scores = query.to(exact) @ key.to(exact).transpose(-1, -2) * given["scale"]
    places = [torch.arange(size, device=query.device) for size in (batch, heads, queries, key.shape[2])]
    score_mod, mask_mod = given["score_mod"], given["block_mask"][-1]
    scores = _everywhere(score_mod, 1, given["score_mod_other_buffers"])(scores, *places)
    seen = _everywhere(mask_mod, 0, given["mask_mod_other_buffers"])(*places)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)
    rebuilt = weights @ value.to(exact)
    scale = output.abs().max().clamp_min(1e-12).to(exact)
    relative = float((rebuilt - output.to(exact)).abs().max() / scale)
    if relative > TOLERANCE.get(output.dtype, 1e-4):
        raise CaptureError(
            f"The flex attention of {name} could not be reproduced: its output differs by {relative:.1e} (relative) "
            "from what its scores and values give, so no weights are shown; report how it changes scores."
        )
    return weights.to(query.dtype)


def _everywhere(function: Callable[..., Any], arrays: int, buffers: tuple[Any, ...]) -> Callable[..., Tensor]:
    """A function of (arrays and) batch, head, query and key, at every place ``[batch, head, query, key]``."""

    def at(*given: Any) -> Any:
        return function(*given, *buffers)

    for axis in (3, 2, 1, 0):
        places = tuple(0 if number == axis else None for number in range(4))
        at = torch.vmap(at, in_dims=(0,) * arrays + places)
    return at
