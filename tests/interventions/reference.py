"""Slow, obvious ways to the same: the model's own function with an altered mask, or altered queries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.masks import MaskReader


@dataclass
class Asked:
    """Hands the model's own function other arguments at one module."""

    module: str
    alter: Callable[[AttentionCall], AttentionCall]

    def before(self, call: AttentionCall) -> AttentionCall:
        return self.alter(call) if call.name == self.module else call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        return output


@dataclass
class Outputs:
    """Keeps every call's output by module name."""

    found: dict[str, Tensor]

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        self.found[call.name] = output.clone()
        return output


def hiding(module: str, head: int, cells: Tensor) -> Asked:
    """``cells`` (bool ``[query, key]``) of one head are hidden by an additive mask, whatever mask there was."""

    def alter(call: AttentionCall) -> AttentionCall:
        batch, heads, queries, _ = call.query.shape
        keys = call.key.shape[2]
        seen = MaskReader().read(replace(call, options=call.options | {"position_bias": None})).visibility
        cells_seen = seen.seen(slice(0, queries), slice(0, keys), slice(None), call.query.device)
        mask = torch.zeros(batch, heads, queries, keys)
        if cells_seen is not None:
            mask = mask.masked_fill(~cells_seen, -1e9)
        mask[:, head] = mask[:, head].masked_fill(cells, -1e9)
        return replace(call, mask=mask, options=call.options | {"is_causal": False})

    return Asked(module, alter)


def without_scores(module: str, head: int) -> Asked:
    """The head's queries are zero, so that all its scores are the same."""

    def alter(call: AttentionCall) -> AttentionCall:
        query = call.query.clone()
        query[:, head] = 0
        return replace(call, query=query)

    return Asked(module, alter)


def tapped(model: nn.Module, listener: Any) -> AbstractContextManager[None]:
    return hook_attention(model, listener)


def state(model: nn.Module) -> list[Any]:
    """Everything that an intervention could leave behind."""
    from transformers.modeling_utils import AttentionInterface

    found: list[Any] = [AttentionInterface.get_interface]
    for name, module in model.named_modules():
        found.append((name, sorted(vars(module)), module.training, len(module._forward_hooks)))
        found.append((len(module._forward_pre_hooks), len(module._backward_hooks)))
    for name, parameter in model.named_parameters():
        found.append((name, parameter._version, parameter.grad is None, parameter.requires_grad))
    return found
