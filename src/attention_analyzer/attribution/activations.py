"""What attention read and wrote in one forward: the values of each call, its output, and how the target depends on it.

The model runs under its own backend. A second listener stands beside the capture and keeps each call's values and
output; the capture says which call is which site.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.quantized import gradients_needed
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights


@dataclass(eq=False)
class CallActivations:
    """One call.

    Attributes:
        weights: of one text.
        value: ``[key head, key, channel]``; ``output``: ``[1, query, head, channel]``, part of the graph where
            gradients are recorded. None for attention outside the library's interface.
    """

    module: nn.Module
    weights: AttentionWeights
    value: Tensor | None = None
    output: Tensor | None = None

    @property
    def values_by_head(self) -> Tensor:
        """``[head, key, channel]``: grouped heads share what they read."""
        assert self.value is not None
        return self.value.repeat_interleave(self.weights.heads // self.value.shape[0], dim=0)


@dataclass
class ActivationRecorder:
    """Listens beside a capture.

    Attributes:
        calls: every call so far.
        grad: whether outputs must carry gradients.
    """

    grad: bool = False
    calls: list[CallActivations] = field(default_factory=list)

    def keep(self, place: CallSite, weights: AttentionWeights) -> CallActivations:
        """The capture's own part, which comes first: its tap is the inner one."""
        self.calls.append(CallActivations(place.module, weights))
        return self.calls[-1]

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        if self.grad and not output.requires_grad:
            # A model whose parameters are frozen: the graph begins here. The numbers stay the same.
            output = output.detach().requires_grad_()
        heard = self.calls[-1]
        heard.value, heard.output = call.value[0].detach(), output
        return output


def record_activations(
    loaded: LoadedModel, prepared: Prepared, *, grad: bool = False
) -> tuple[Any, list[tuple[Site, CallActivations]]]:
    """One forward of one text: the model's outputs, and every site with its call, in order.

    Raises:
        UnsupportedModelError: a site attends outside the library's interface, so that only its weights are seen, or in
            several calls; or the model is quantized and passes no gradients on, where ``grad`` asks for them.
    """
    ear = ActivationRecorder(grad)
    with loaded.evaluating() as model:
        inside = getattr(model, "_orig_mod", model)
        with hook_attention(inside, ear), gradients_needed(inside) if grad else nullcontext():
            forward = capture_forward(
                inside, prepared.inputs, valid=prepared.valid.to(loaded.device), keep=ear.keep, grad=grad
            )
    sites: Sequence[tuple[Site, CallActivations]] = forward.sites
    if ear.calls[-len(sites) :] != [heard for _, heard in sites]:
        raise UnsupportedModelError(
            f"{type(inside).__name__} attends several times in one layer; the contributions of its values cannot be "
            "separated, so only methods that use weights alone are available."
        )
    for site, heard in sites:
        if heard.value is None or heard.output is None:
            raise UnsupportedModelError(
                f"{site.module} ({type(heard.module).__name__}) computes its attention outside transformers' attention "
                "interface, so its values cannot be seen; methods that need only weights are available: received, "
                "last_layer, the rollouts and flow."
            )
    return forward.outputs, list(sites)


def gradients(value: Tensor, heard: Sequence[CallActivations]) -> list[Tensor]:
    """``∂ value / ∂ output`` of each call, ``[head, query, channel]``; zero where the value does not depend on it."""
    outputs = [each.output for each in heard if each.output is not None]
    found: Sequence[Tensor | None] = torch.autograd.grad(value, outputs, allow_unused=True)
    return [
        (torch.zeros_like(output) if gradient is None else gradient)[0].transpose(0, 1)
        for output, gradient in zip(outputs, found, strict=True)
    ]
