"""Weights that a model computed itself, brought into the one form ``[batch, head, query, key]``."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from attention_analyzer.errors import CaptureError, UnsupportedModelError
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility

#: Names under which modules keep how many heads they have.
HEAD_COUNTS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "nhead", "heads", "num_attn_heads", "h")
#: Rounding of low-precision rows, which a model's own weights may have.
_ROW_SLACK = {torch.float16: 2e-2, torch.bfloat16: 5e-2}


def dense_weights(
    module: nn.Module, name: str, weights: Tensor, batch: int | None, valid: Tensor | None
) -> DenseWeights:
    """Stored weights with the visibility that their zeros show.

    Args:
        weights: ``[batch, head, query, key]``, ``[batch · head, query, key]`` or ``[query, key]``.
        batch: texts or images in the forward, where it is known.
        valid: bool ``[batch, token]`` of the main text.

    Raises:
        UnsupportedModelError: the array has another shape.
        CaptureError: the numbers are no weights.
    """
    if weights.dim() == 2:
        weights = weights[None, None]
    elif weights.dim() == 3:
        weights = _split_heads(module, name, weights, batch)
    elif weights.dim() == 4 and heads_come_first(module, name, weights, batch):
        weights = weights.transpose(0, 1)
    if weights.dim() != 4:
        raise UnsupportedModelError(
            f"{name or 'The model'} ({type(module).__name__}) computes its attention in pieces of shape "
            f"{tuple(weights.shape)}, which cannot be shown as [head, query, key]; this architecture is not supported."
        )
    check_heads_apart(module, name, *weights.shape[1:])
    _check_rows(name or type(module).__name__, weights, valid, training=module.training)
    return DenseWeights(weights, _visibility(weights, valid))


def head_counts(module: nn.Module) -> set[int]:
    """How many heads a module says that it has, under whichever name."""
    found = []
    for name in HEAD_COUNTS:
        with suppress(AttributeError):  # without what a class says of names that it does not have (diffusers warns)
            found.append(object.__getattribute__(module, name))
    return {count for count in found if isinstance(count, int) and not isinstance(count, bool) and count > 0}


def heads_come_first(module: nn.Module, name: str, array: Tensor, batch: int | None) -> bool:
    """Whether an array is ``[head, batch, …]``, and not ``[batch, head, …]``.

    Args:
        batch: texts or images in the forward. A first axis of another size is of heads, or of windows and batch.

    Raises:
        UnsupportedModelError: it may be either, and the module does not say how many heads it has.
    """
    first, second = array.shape[:2]
    declared = head_counts(module)
    if batch is None or first == batch or second != batch or second in declared:
        return False
    if not declared:
        raise UnsupportedModelError(
            f"{name or type(module).__name__} attends with an array {tuple(array.shape)} whose first axis may be of "
            "heads or of windows; give the module an attribute num_heads, so that they can be separated."
        )
    return first in declared


def check_heads_apart(module: nn.Module, name: str, heads: int, queries: int, keys: int) -> None:
    """Raises UnsupportedModelError if all heads' queries stand in one axis, as code with one key head may have them."""
    if heads == 1 and any(count > 1 and queries == count * keys for count in head_counts(module)):
        raise UnsupportedModelError(
            f"{name or type(module).__name__} attends with {queries} queries of one head to {keys} keys: its heads "
            "stand in the query axis, where they cannot be separated; give the array an axis of heads, as in "
            "[batch, head, query, key]."
        )


def _split_heads(module: nn.Module, name: str, weights: Tensor, batch: int | None) -> Tensor:
    outer = weights.shape[0]
    for heads in head_counts(module):
        # One head at a time, of a module that has several, is a batch.
        if outer % heads == 0 and outer != batch:
            return weights.view(-1, heads, *weights.shape[1:])
    if batch is not None and outer % batch == 0:
        return weights.view(batch, -1, *weights.shape[1:])
    raise UnsupportedModelError(
        f"{name or 'The model'} ({type(module).__name__}) attends with an array {tuple(weights.shape)} whose first "
        "axis cannot be separated into texts and heads; give the module an attribute num_heads."
    )


def _check_rows(name: str, weights: Tensor, valid: Tensor | None, *, training: bool) -> None:
    rows = weights.float().sum(-1)
    if valid is not None and rows.shape[0] == valid.shape[0] and rows.shape[-1] == valid.shape[1]:
        rows = rows.masked_fill(~valid[:, None].to(rows.device), 0)
    slack = 1 + _ROW_SLACK.get(weights.dtype, 1e-3)
    if not bool(torch.isfinite(rows).all()):
        return  # NaN in the model is reported where weights are reduced, with its place
    if float(rows.max()) > slack or float(weights.min()) < 0:
        advice = "call model.eval(), if dropout does it" if training else "report its architecture"
        raise CaptureError(
            f"The attention of {name} has rows that sum to {float(rows.max()):.3g} or weights below zero, so it is not "
            f"shown; {advice}."
        )


def _visibility(weights: Tensor, valid: Tensor | None) -> Visibility:
    queries, keys = weights.shape[-2:]
    shift = keys - queries
    ahead = torch.ones(queries, keys, dtype=torch.bool, device=weights.device).triu(shift + 1)[None, None]
    if valid is not None and valid.shape == (weights.shape[0], queries):
        ahead = ahead & valid.to(weights.device)[:, None, :, None]  # padding may look anywhere
    causal = queries > 1 and shift >= 0 and bool((weights.masked_fill(~ahead, 0) == 0).all())
    key_seen = None
    if valid is not None and valid.shape == (weights.shape[0], keys) and not bool(valid.all()):
        real = valid.to(weights.device)
        counted = weights.masked_fill(real[:, None, None], 0)
        if queries == keys:
            counted = counted.masked_fill(~real[:, None, :, None], 0)
        key_seen = real if bool((counted == 0).all()) else None
    return Visibility(queries, keys, upper=shift if causal else None, key_seen=key_seen)
