"""Attention that is computed outside the library's interface, intercepted where it is used.

Many families write their own attention: a softmax whose result is multiplied by values, or torch's fused attention
called directly. Whatever Python says it, it ends in the same few tensor operations, and those can be watched without
touching the model: no output is switched on, no configuration changed, no hook left behind, and the outputs stay
bit-identical. What is kept are the very numbers that multiplied the values, or, of a fused operation, its queries and
keys.

A softmax counts as attention if its result was multiplied, over the axis that sums to one, by another activation that
the queries share; a router's softmax is not multiplied so.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from attention_analyzer.cleanup import undone
from attention_analyzer.errors import AttentionAnalyzerError, UnsupportedModelError
from attention_analyzer.grad_mode import without_grad
from attention_analyzer.hooks.dependence import Dependence
from attention_analyzer.hooks.dispatch_modes import set_modes
from attention_analyzer.hooks.flex import FLEX, as_one_operation, flex_weights
from attention_analyzer.hooks.fused_layers import ATTENTION, LAYER, fused_call
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.parts import Origin
from attention_analyzer.hooks.precomputed import HEAD_COUNTS, head_counts
from attention_analyzer.hooks.softmax_tracker import SoftmaxTracker
from attention_analyzer.hooks.sparse_layers import SPARSE, Run, sparse_weights
from attention_analyzer.models.structure import ModulePaths

aten = torch.ops.aten
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_SOFTMAX = {aten._softmax.default, aten._safe_softmax.default}
#: Products, and where their two operands begin.
_PRODUCTS = {aten.bmm.default: 0, aten.mm.default: 0, aten.baddbmm.default: 1, aten.addmm.default: 1}
_FUSED = {
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_fused_attention_overrideable.default,
}
#: Operations through which weights stay weights: copies, casts, a factor a head, cells set to zero.
_FOLLOWED = {
    aten._to_copy.default,
    aten.clone.default,
    aten.mul.Tensor,
    aten.mul.Scalar,
    aten.div.Tensor,
    aten.div.Scalar,
    aten.add.Tensor,
    aten.masked_fill.Scalar,
    aten.masked_fill.Tensor,
    aten.where.self,
    aten.nan_to_num.default,
}
#: Operations through which scores stay scores.
_OF_SCORES = {
    aten.sub.Tensor,
    aten.tanh.default,
    aten.clamp.default,
}
#: Parts of a softmax that is written out, or its logarithm.
_PARTS_OF_SOFTMAX = {aten.exp.default, aten._log_softmax.default}
#: In the order of the operation.
_FLEX_ARGUMENTS = (
    "query",
    "key",
    "value",
    "score_mod",
    "block_mask",
    "scale",
    "kernel_options",
    "score_mod_other_buffers",
    "mask_mod_other_buffers",
)


class DispatchHook(Protocol):
    """What is told about attention outside the interface."""

    def on_weights(self, module: nn.Module, name: str, weights: Tensor, origin: Origin | None) -> None:
        """Weights ``[.., query, key]`` that multiplied values inside a module; no origin where they are whole."""
        ...

    def on_call(self, call: AttentionCall, output: Tensor, origin: Origin | None) -> None:
        """A direct call of torch's fused attention, with its output ``[batch, query, head, channel]``."""
        ...

    def finish(self) -> None:
        """No further call will follow."""
        ...

    def refuse(self, error: AttentionAnalyzerError) -> None:
        """Something cannot be shown; raises the error, or keeps it and lets the forward run on."""
        ...


@dataclass
class AttentionDispatchMode(TorchDispatchMode):
    """Follows softmax results to the products that use them, while one of the model's modules runs.

    Attributes:
        tracker: what became of softmax results.
        running: the modules that run now, outermost first, of whichever model; ``runs``: the number of each run.
        ran: every module of the model that has run.
        flexible: modules that called flex attention.
        paused: above zero where operations are the toolkit's own.
    """

    names: ModulePaths
    listener: DispatchHook
    tracker: SoftmaxTracker
    running: list[nn.Module] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    dependence: Dependence = field(default_factory=Dependence)
    ran: dict[int, nn.Module] = field(default_factory=dict)
    flexible: set[int] = field(default_factory=set)
    paused: int = 0
    _begun: int = 0
    _calls: int = 0

    #: Flex attention is one operation of a higher order, which passes through here as others do.
    supports_higher_order_operators = True

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.is_inference_mode_enabled() and not self.paused and _is_composite(func):
            with self:  # its parts are seen one by one, as they are outside of inference mode
                return func._op_dk(_COMPOSITE, *args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            self.dependence.follow(args, result)
        if self.paused or not self.running or id(self.running[-1]) not in self.names or self._is_sparse:
            return result
        try:
            self._see(func, args, kwargs, result)
        except AttentionAnalyzerError as error:
            self.listener.refuse(error)
        return result

    def _see(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, result: Any) -> None:
        """An operation ran in a module of the model."""
        if func in _PRODUCTS:
            self._product(args[_PRODUCTS[func] :], result)
        elif func in _FUSED:
            self._fused(_named(func, args, kwargs), result)
        elif func in (LAYER, ATTENTION):
            self._fused_layer(func, _named(func, args, kwargs), result)
        elif func is FLEX:
            self._flex(dict(zip(_FLEX_ARGUMENTS, args, strict=False)) | dict(kwargs or {}), result)
        else:
            self._track(func, args, result)

    def _track(self, func: Any, args: Sequence[Any], result: Any) -> None:
        """What becomes of scores and of weights."""
        if func in _SOFTMAX:
            self.tracker.softmax(args[0], result, args[1], self._path)
        elif func in _FOLLOWED:
            self.tracker.copied(result, args)
        elif func is aten.native_dropout.default:
            self.tracker.copied(result[0], args)
            if args[2]:
                self.tracker.dropout(args[0], result[0])
        elif func is aten.bernoulli_.float:
            self.tracker.drawn(result)
        elif func in _OF_SCORES:
            self.tracker.still_scores(result, args)
        elif func in _PARTS_OF_SOFTMAX:
            self.tracker.written_out(args[0], self._path)

    def __exit__(self, *error: object) -> None:
        # An interrupt may have come before modes that were set aside were back.
        if any(mode is self for mode in _get_current_dispatch_mode_stack()):
            super().__exit__(*error)

    @contextmanager
    def pause(self) -> Iterator[None]:
        before = self.paused
        try:
            self.paused += 1
            yield
        finally:
            self.paused = before

    @property
    def _path(self) -> str:
        """Of the innermost module that runs."""
        return self.names[id(self.running[-1])]

    @property
    def _is_sparse(self) -> bool:
        """Whether the module that runs multiplies pieces, and is asked for the whole when it has run."""
        return type(self.running[-1]).__name__ in SPARSE

    @without_grad
    def sparse_layer(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """A module of :data:`SPARSE` has run."""
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        given = {name: value for name, value in given.items() if name != "kwargs"} | dict(given.get("kwargs", {}))
        with self.pause():
            weights = sparse_weights(module, Run(given, output), self.names[id(module)])
            self.listener.on_weights(module, self.names[id(module)], weights, None)

    def enter(self, module: nn.Module) -> None:
        """A module begins to run."""
        self._begun += 1
        self.running.append(module)
        self.runs.append(self._begun)

    def leave(self) -> None:
        """The innermost module has run."""
        self.running.pop()
        self.runs.pop()

    def _origin(self, made_of: tuple[Tensor, ...], values: Tensor, output: Tensor) -> Origin:
        """Of a call that has run: ``made_of`` are its queries and keys, or weights."""
        self._calls += 1
        depends_on = self.dependence.of(made_of)
        self.dependence.mark(output, self._calls)
        around = self.runs[-2] if len(self.runs) > 1 else 0
        return Origin(self._calls, self.runs[-1], around, depends_on, values.detach())

    def _product(self, operands: Sequence[Any], result: Tensor) -> None:
        found = self.tracker.product(operands[0], operands[1], result, self._path)
        if found is not None:
            weights, values = found
            origin = self._origin((weights,), values, result)
            with self.pause():
                self.listener.on_weights(self.running[-1], self._path, weights.detach().clone(), origin)

    def _fused(self, given: Mapping[str, Any], result: Any) -> None:
        if not self._are_heads(given["query"].shape[1]):
            return  # the axis holds something else: each token may attend to its own few streams (Inkling 2)
        call = AttentionCall(
            module=self.running[-1],
            name=self._path,
            backend="sdpa",
            query=given["query"],
            key=given["key"],
            value=given["value"],
            mask=given.get("attn_mask", given.get("attn_bias")),
            options={"scaling": given.get("scale"), "is_causal": given.get("is_causal", False)},
        )
        origin = self._origin((call.query, call.key), call.value, result[0])
        with self.pause():
            self.listener.on_call(call, result[0].transpose(1, 2), origin)

    def _fused_layer(self, func: Any, given: Mapping[str, Any], result: Any) -> None:
        module, path = self.running[-1], self._path
        inner = getattr(module, "self_attn", None)
        if (
            func is LAYER and isinstance(inner, nn.Module) and id(inner) in self.names
        ):  # as it is named where the layer runs part by part
            module, path = inner, self.names[id(inner)]
        with self.pause():
            self.listener.on_call(*fused_call(func, given, result, module, path), None)

    @without_grad
    def _flex(self, given: Mapping[str, Any], result: Any) -> None:
        self.flexible.add(id(self.running[-1]))
        with self.pause():
            weights = flex_weights(given, result[0], self._path)
            origin = self._origin((given["query"], given["key"]), given["value"], result[0])
            self.listener.on_weights(self.running[-1], self._path, weights, origin)

    def _are_heads(self, count: int) -> bool:
        """Whether an axis may be of heads: no configuration says how many there are, or a module says so many."""
        configs = [config for module in self.running if (config := getattr(module, "config", None)) is not None]
        declared = {getattr(config, name, None) for config in configs for name in HEAD_COUNTS}
        if count in declared or any(count in head_counts(module) for module in self.running):
            return True
        return not any(isinstance(number, int) for number in declared)


def _named(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """An operation's arguments by name."""
    names = [argument.name for argument in func._schema.arguments]
    return dict(zip(names, args, strict=False)) | dict(kwargs or {})


def _is_composite(func: Any) -> bool:
    """Whether an operation is made of others (softmax, matmul), which inference mode hands over in one piece."""
    if not isinstance(func, torch._ops.OpOverload):
        return False
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE))


@contextmanager
def intercept(model: nn.Module, listener: DispatchHook) -> Iterator[AttentionDispatchMode]:
    """Watch what the model's modules compute in this thread; modules themselves stay as they are."""
    watch = AttentionDispatchMode(ModulePaths(model), listener, SoftmaxTracker(model.parameters()))
    thread = get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if get_ident() != thread:
            return
        is_bare = not module._modules and not module._parameters
        if id(module) in watch.names or (not is_bare and watch.names.meets(module)):
            watch.ran[id(module)] = module
        elif is_bare:
            return  # made on the spot (CodeGen's nn.Softmax): part of what runs around it
        watch.enter(module)  # another model's, too: what runs inside it is not this one's

    def leave(module: nn.Module, args: Any, *rest: Any) -> None:
        if get_ident() == thread and watch.running and watch.running[-1] is module:
            *kwargs, output = rest  # after an error torch leaves the keyword arguments out
            if kwargs and type(module).__name__ in SPARSE and id(module) in watch.names and not watch.paused:
                try:
                    watch.sparse_layer(module, args, kwargs[0], output)
                except AttentionAnalyzerError as error:
                    listener.refuse(error)
            watch.leave()
            if id(module) in watch.flexible and torch.is_grad_enabled() and getattr(output, "requires_grad", False):
                listener.refuse(
                    UnsupportedModelError(
                        f"{watch.names[id(module)] or type(module).__name__} calls flex attention while gradients are "
                        "recorded, where it cannot be watched; run the model under torch.no_grad()."
                    )
                )

    handles: list[Any] = []
    before = _get_current_dispatch_mode_stack()

    def undo() -> None:
        set_modes(before)
        for handle in handles:
            handle.remove()
            _global_forward_hooks_with_kwargs.pop(handle.id, None)  # which torch does not clear

    with undone(undo):
        handles.append(register_module_forward_pre_hook(enter))
        handles.append(register_module_forward_hook(leave, with_kwargs=True, always_call=True))
        with as_one_operation(), watch:
            yield watch
        listener.finish()
