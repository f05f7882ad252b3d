"""Attention that is computed outside the library's interface, overheard where it is used.

Many families write their own attention: a softmax whose result is multiplied by values, or torch's fused attention
called directly. Whatever Python says it, it ends in the same few tensor operations, and those can be watched without
touching the model: no output is switched on, no configuration changed, no hook left behind, and the outputs stay
bit-identical. What is kept are the very numbers that multiplied the values.

A softmax counts as attention if it ran over the last axis of a ``[.., query, key]`` array and its result was
multiplied, over that axis, by another activation; a router's softmax is not multiplied so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.precomputed import HEAD_COUNTS

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
#: Operations through which weights stay weights: copies, casts, dropout, a factor a head, cells set to zero.
_FOLLOWED = {
    aten._to_copy.default,
    aten.clone.default,
    aten.mul.Tensor,
    aten.masked_fill.Scalar,
    aten.masked_fill.Tensor,
    aten.where.self,
    aten.native_dropout.default,
    aten.nan_to_num.default,
}


class DispatchHook(Protocol):
    """What is told about attention outside the interface."""

    def on_weights(self, module: nn.Module, name: str, weights: Tensor) -> None:
        """Weights ``[.., query, key]`` that multiplied values inside a module."""
        ...

    def on_call(self, call: AttentionCall, output: Tensor) -> None:
        """A direct call of torch's fused attention, with its output ``[batch, query, head, channel]``."""
        ...


@dataclass
class AttentionDispatchMode(TorchDispatchMode):
    """Follows softmax results to the products that use them, while one of the model's modules runs.

    Attributes:
        running: the modules that run now, outermost first, of whichever model.
        ran: every module of the model that has run.
        paused: above zero where operations are the toolkit's own.
    """

    names: dict[int, str]
    listener: DispatchHook
    running: list[nn.Module] = field(default_factory=list)
    ran: dict[int, nn.Module] = field(default_factory=dict)
    paused: int = 0
    _followed: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.is_inference_mode_enabled() and not self.paused and _is_composite(func):
            with self:  # its parts are seen one by one, as they are outside of inference mode
                return func._op_dk(_COMPOSITE, *args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if self.paused or not self.running or id(self.running[-1]) not in self.names:
            return result
        if func in _SOFTMAX:
            # The tensor is held, so that no other one gets its address.
            if result.dim() >= 3 and args[1] % result.dim() == result.dim() - 1:
                self._followed[_address(result)] = result
        elif func in _FUSED:
            self._fused(func, result, args, kwargs or {})
        elif self._followed and func in _PRODUCTS:
            self._product(args[_PRODUCTS[func] :])
        elif self._followed and func in _FOLLOWED:
            self._follow(result[0] if isinstance(result, tuple) else result, args)
        return result

    @contextmanager
    def pause(self) -> Iterator[None]:
        self.paused += 1
        try:
            yield
        finally:
            self.paused -= 1

    def _follow(self, result: Tensor, args: Sequence[Any]) -> None:
        for arg in args:
            known = self._followed.get(_address(arg)) if isinstance(arg, Tensor) else None
            if known is None or known.shape[:-1].numel() * arg.shape[-1] != result.numel():
                continue
            # A sink's column stands last and is cut off before the values are multiplied.
            if arg.shape[-1] <= known.shape[-1] and arg.storage_offset() == known.storage_offset():
                self._followed[_address(result)] = result.reshape(*known.shape[:-1], arg.shape[-1])
                return

    def _product(self, operands: Sequence[Any]) -> None:
        left, right = operands[0], operands[1]
        for weights, values, axis in ((left, right, -1), (right, left, -2)):
            known = self._followed.get(_address(weights))
            if known is None or isinstance(values, nn.Parameter):
                continue
            # Fewer keys than the softmax had: the last column is a sink's, and was cut off.
            keys = weights.shape[axis]
            whole = known.shape[:-1].numel() * keys == weights.numel() and keys <= known.shape[-1]
            if whole and weights.stride(axis) == known.stride(-1):
                self._followed.clear()
                module = self.running[-1]
                with self.pause():
                    kept = known[..., :keys].detach().clone()
                    self.listener.on_weights(module, self.names[id(module)], kept)
                return

    def _fused(self, func: Any, result: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs
        if not self._are_heads(given["query"].shape[1]):
            return  # the axis holds something else: each token may attend to its own few streams (Inkling 2)
        mask = given.get("attn_mask", given.get("attn_bias"))
        module = self.running[-1]
        call = AttentionCall(
            module=module,
            name=self.names[id(module)],
            backend="sdpa",
            query=given["query"],
            key=given["key"],
            value=given["value"],
            mask=mask,
            options={"scaling": given.get("scale"), "is_causal": given.get("is_causal", False)},
        )
        with self.pause():
            self.listener.on_call(call, result[0].transpose(1, 2))

    def _are_heads(self, count: int) -> bool:
        """Whether a module that runs, or its configuration, says that it has so many heads."""
        holders = [holder for module in self.running for holder in (module, getattr(module, "config", None))]
        return any(getattr(holder, name, None) == count for holder in holders for name in HEAD_COUNTS)


def _is_composite(func: Any) -> bool:
    """Whether an operation is made of others (softmax, matmul), which inference mode hands over in one piece."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextmanager
def intercept(model: nn.Module, listener: DispatchHook) -> Iterator[AttentionDispatchMode]:
    """Watch what the model's modules compute in this thread; modules themselves stay as they are."""
    watch = AttentionDispatchMode({id(module): name for name, module in model.named_modules()}, listener)
    thread = get_ident()

    def enter(module: nn.Module, args: Any) -> None:
        if get_ident() != thread:
            return
        if id(module) in watch.names:
            watch.ran[id(module)] = module
        elif not module._modules and not module._parameters:
            return  # made on the spot (CodeGen's nn.Softmax): part of what runs around it
        watch.running.append(module)  # another model's, too: what runs inside it is not this one's

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if get_ident() == thread and watch.running and watch.running[-1] is module:
            watch.running.pop()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()
