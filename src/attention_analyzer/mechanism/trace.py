"""One forward with the residual stream followed: its components, and every attention call with its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import SelectionError, UnsupportedModelError
from attention_analyzer.hooks.forward import as_written, batch_of, sequences_of
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.session import Capture
from attention_analyzer.mechanism.linear_path import Component, LinearPath, following
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.module_hooks import hooks_removed, in_this_thread
from attention_analyzer.site import Kind, Site, from_end, is_layer
from attention_analyzer.weights.base import AttentionWeights


@dataclass(eq=False)
class TracedCall:
    """One attention call.

    Attributes:
        weights: the lazy weights of the call.
        heads: number of query heads.
        query, key: ``[1, head, token, channel]`` as the function got them, part of the followed path; None of attention
            that the model computes itself.
        value: ``[key head, key, channel]``; ``output``: ``[1, query, head, channel]``, a component of the stream.
        followed_value: ``[1, key head, key, channel]``, part of the followed path, like query and key.
    """

    module: nn.Module
    heads: int
    value: Tensor
    query: Tensor | None = None
    key: Tensor | None = None
    scaling: float = 1.0
    weights: AttentionWeights | None = None
    output: Tensor | None = None
    site: Site | None = None
    followed_value: Tensor | None = None


@dataclass
class Trace:
    """What one forward showed.

    Attributes:
        calls: every attention call in order; ``calls[i].site`` says where it is.
        components: see :class:`.linear_path.Component`.
        outputs: the model's own, part of the followed path.
        layers: what entered and left each layer, in the order of the calls of attention; of a trace with probes.
    """

    calls: list[TracedCall]
    components: list[Component]
    outputs: Any
    frozen: Mapping[str, str] = field(default_factory=dict)
    layers: Sequence[TracedLayer] = ()

    def layer_of(self, call: TracedCall) -> TracedLayer:
        """The innermost layer that made a call.

        Raises:
            UnsupportedModelError: the layer was not found.
        """
        number = self.calls.index(call)
        found = [layer for layer in self.layers if layer.first <= number < layer.stop and layer.left is not None]
        if not found:
            raise UnsupportedModelError(
                f"The layer around {call.site} was not found, so what it makes of its heads cannot be read."
            )
        return min(found, key=lambda layer: layer.stop - layer.first)


@dataclass(eq=False)
class TracedLayer:
    """One run of a layer: a member of a list of modules that attends.

    Attributes:
        states: what entered it, ``[1, token, channel]``; ``probe``: zeros that were added to that, so that what follows
            can be differentiated with respect to it; ``left``: what it returned.
        first, stop: which calls of attention it made.
    """

    path: str
    states: Tensor
    probe: Tensor
    first: int
    stop: int = -1
    left: Tensor | None = None


@dataclass
class _Probes:
    """Notes where each layer begins and ends."""

    calls: Sequence[TracedCall]
    layers: list[TracedLayer] = field(default_factory=list)

    def enter(self, path: str) -> Callable[..., Any]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            states = args[0] if args else kwargs.get("hidden_states")
            if not isinstance(states, Tensor) or not states.requires_grad:
                return None
            probe = torch.zeros(tuple(states.shape), dtype=states.dtype, device=states.device).requires_grad_()
            self.layers.append(TracedLayer(path, states.detach(), probe, len(self.calls)))
            if args:
                return (states + probe, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": states + probe}

        return hook

    def leave(self, path: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, made: Any) -> None:
            states = made[0] if isinstance(made, tuple) else made
            mine = next((layer for layer in reversed(self.layers) if layer.path == path and layer.left is None), None)
            if mine is not None and isinstance(states, Tensor):
                mine.left, mine.stop = states, len(self.calls)

        return hook

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        with hooks_removed() as handles:
            for path, module in model.named_modules():
                if path.rpartition(".")[2].isdigit():
                    handles.append(module.register_forward_pre_hook(in_this_thread(self.enter(path)), with_kwargs=True))
                    handles.append(module.register_forward_hook(in_this_thread(self.leave(path))))
            yield


@dataclass
class _Hook:
    """Between the model and its attention function: what goes in is kept, what comes out begins anew."""

    path: LinearPath
    capture: Capture[AttentionWeights]
    calls: list[TracedCall] = field(default_factory=list)

    def before(self, call: AttentionCall) -> AttentionCall:
        self.path.paused += 1
        scaling = call.options.get("scaling")
        self.calls.append(
            TracedCall(
                module=call.module,
                heads=call.query.shape[1],
                value=call.value[0].detach(),
                followed_value=call.value,
                query=call.query,
                key=call.key,
                scaling=float(call.query.shape[-1] ** -0.5 if scaling is None else scaling),
            )
        )
        # Without a graph the library chooses the kernels that it chooses in a plain forward.
        query, key, value = call.query.detach(), call.key.detach(), call.value.detach()
        options = {name: _detached(option) for name, option in call.options.items()}
        return replace(call, query=query, key=key, value=value, mask=_detached(call.mask), options=options)

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        output = output.detach()
        self.capture.after(call, output)
        made = self.path.attend(call.module, output)
        self.calls[-1].output = self.path.components[-1].tensor
        self.path.paused -= 1
        return made

    def on_weights(self, module: nn.Module, name: str, weights: Tensor, value: Tensor, output: Tensor) -> Tensor | None:
        if output.dim() not in (3, 4) or (output.dim() == 4 and output.shape[0] != 1):
            return None
        self.capture.on_weights(module, name, weights, None)
        by_head = output if output.dim() == 4 else output[None]
        values = value[0] if value.dim() == 4 else value
        self.calls.append(TracedCall(module, by_head.shape[1], values))
        return self._begun(module, by_head).reshape(output.shape)

    def on_fused(self, module: nn.Module, name: str, given: Mapping[str, Any], output: Tensor) -> Tensor:
        query, key, value = given["query"], given["key"], given["value"]
        options = {"scaling": given.get("scale"), "is_causal": given.get("is_causal", False)}
        tensors = query.detach(), key.detach(), value.detach()
        call = AttentionCall(module, name, "sdpa", *tensors, given.get("attn_mask"), options)
        self.capture.on_call(call, output.transpose(1, 2), None)
        scaling = float(query.shape[-1] ** -0.5 if given.get("scale") is None else given["scale"])
        self.calls.append(TracedCall(module, query.shape[1], tensors[2][0], query, key, scaling, followed_value=value))
        return self._begun(module, output)

    def _begun(self, module: nn.Module, output: Tensor) -> Tensor:
        """The output ``[1, head, query, channel]`` as a component, which has its heads behind its queries."""
        made = self.path.attend(module, output.transpose(1, 2)).transpose(1, 2)
        self.calls[-1].output = self.path.components[-1].tensor
        return made


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def trace(loaded: LoadedModel, inputs: Mapping[str, Any], *, check: bool = True, probes: bool = False) -> Trace:
    """Run the model once on one text and follow its stream.

    Args:
        probes: note where each layer begins and ends.

    Raises:
        UnsupportedModelError: attention outside the library's interface, or several calls in one layer.
        CaptureError: an attention call's output is not what its weights and values give.
    """
    results: list[AttentionWeights] = []

    def keep(_: CallSite, weights: AttentionWeights) -> AttentionWeights:
        results.append(weights)
        return weights

    with loaded.evaluating() as model:
        model = getattr(model, "_orig_mod", model)
        path = LinearPath(model)
        capture: Capture[AttentionWeights] = Capture(
            model, keep=keep, valid=None, check=check, batch=batch_of(inputs), sequences=sequences_of(inputs)
        )
        hook = _Hook(path, capture)
        path.outside = hook
        around = _Probes(hook.calls)
        beside = around.on(model) if probes else nullcontext()
        with as_written(model), hook_attention(model, hook), following(path), beside:
            outputs = model(**inputs)
    if not hook.calls:
        raise UnsupportedModelError(
            f"{type(model).__name__} computes no attention that could be followed: neither at transformers' attention "
            "interface nor as a softmax times values, so what its heads write cannot be told."
        )
    for call, weights in zip(hook.calls, results, strict=True):
        call.weights = weights
    for site, numbers in capture.sites():
        if len(numbers) > 1:
            raise UnsupportedModelError(f"{site.module} attends in several calls, so its heads cannot be separated.")
        hook.calls[numbers[0]].site = site
    return Trace(hook.calls, path.components, outputs, path.frozen, around.layers)


def call_of(run: Trace, layer: int, head: int, stack: str | None = None, kind: Kind = "self") -> TracedCall:
    """The call of a head; a negative layer or head counts from the end.

    Raises:
        SelectionError: there is no such head.
    """
    sites = [call.site for call in run.calls if call.site is not None]
    found = [
        call
        for call in run.calls
        if call.site is not None
        and call.site.kind == kind
        and is_layer(call.site, layer, sites)
        and stack in (None, call.site.stack)
    ]
    if not found or from_end(head, found[0].heads) < 0:
        known = ", ".join(f"{call.site} ({call.heads} heads)" for call in run.calls)
        raise SelectionError(f"There is no head {head} in layer {layer}; there are {known}.")
    return found[0]


def gradients(value: Tensor, tensors: list[Tensor], *, retain: bool = True) -> list[Tensor | None]:
    """``∂ value / ∂ tensor`` along the followed path; None where the value does not depend on it."""
    if not value.requires_grad:
        return [None] * len(tensors)
    return list(torch.autograd.grad(value, tensors, allow_unused=True, retain_graph=retain))
