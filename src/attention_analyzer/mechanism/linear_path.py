"""The residual stream of any model, found by what its operations do: sums, linear maps and frozen norms.

While a :class:`LinearPath` is active, every operation of the model runs as it is, with the values that it always has.
What changes is the graph that autograd records: it follows only operations through which a sum stays a sum. A norm's
scale and a gate's value are held at what they are here. Whatever is not linear (an embedding, an activation function,
an attention function) begins anew: its result is a *component* of the stream. So the gradient of a logit with respect
to a component is exactly the direction in which the component moves that logit directly, and

    logit = Σ over components of ⟨component, gradient⟩

holds by construction wherever the path was followed correctly, and fails where it was not. That sum is checked by
everyone who uses the path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

#: What a component is: "embedding", "attention" (an attention function's output), "activation" (the result of anything
#: else that is not linear) or "constant" (a bias, a position encoding).
Origin = Literal["embedding", "attention", "activation", "constant"]

#: Operations that are linear in their one array.
_LINEAR = frozenset(
    """__getitem__ view reshape view_as reshape_as transpose permute contiguous clone to float double half bfloat16 type
    type_as expand expand_as repeat repeat_interleave unsqueeze squeeze flatten unflatten chunk split tensor_split
    unbind narrow select index_select gather take_along_dim sum mean neg __neg__ roll movedim moveaxis swapaxes
    swapdims t flip pad tile diagonal masked_select cpu cuda positive take as_strided t adjoint split_with_sizes
    broadcast_to masked_fill masked_fill_ cumsum alias detach_ unfold vsplit hsplit""".split()
)
#: Operations that are linear in all their arrays together.
_SUMS = frozenset(
    """add add_ __add__ __radd__ __iadd__ sub sub_ __sub__ __rsub__ __isub__ rsub subtract cat concat concatenate stack
    hstack vstack where index_add index_add_ scatter scatter_ scatter_add scatter_add_ __setitem__ copy_ index_copy_
    index_put_ index_put index_copy broadcast_tensors""".split()
)
#: Products: linear in one factor if the others are constant or held at their values.
_PRODUCTS = frozenset(
    """mul mul_ __mul__ __rmul__ __imul__ multiply div div_ __truediv__ __itruediv__ divide true_divide""".split()
)
_MATRIX_PRODUCTS = frozenset("matmul __matmul__ __rmatmul__ mm bmm einsum linear conv1d tensordot".split())
_ADDED_PRODUCTS = frozenset({"addmm", "baddbmm"})
_DIVISIONS = frozenset({"div", "div_", "__truediv__", "__itruediv__", "divide", "true_divide"})
#: Functions with f(0) = 0, which can be held at their slope from zero, f(x) / x.
_THROUGH_ZERO = frozenset({"tanh", "gelu", "silu", "relu", "relu_", "mish", "leaky_relu", "selu", "elu"})
_IN_PLACE = frozenset(
    name
    for name in _SUMS
    if name in ("__iadd__", "__isub__", "__setitem__") or (not name.endswith("__") and name[-1] == "_")
)
_FUSED = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
_DROPOUTS = frozenset({"dropout", "dropout_", "feature_dropout", "alpha_dropout"})


@dataclass(eq=False)
class Component:
    """One summand of the residual stream.

    Attributes:
        tensor: its value, a leaf of the graph.
        path: of the module that made it.
        operation: the name of the operation that made it.
    """

    tensor: Tensor
    origin: Origin
    path: str
    operation: str = ""
    call: int | None = None


class OutsideAttention(Protocol):
    """Gets attention that a model computes itself, and returns its output as a component."""

    def on_weights(self, module: nn.Module, name: str, weights: Tensor, value: Tensor, output: Tensor) -> Tensor | None:
        """A softmax result was multiplied by values; None if it is not ``[.., head, query, key]`` of one text."""
        ...

    def on_fused(self, module: nn.Module, name: str, given: Mapping[str, Any], output: Tensor) -> Tensor:
        """Torch's fused attention was called directly, with queries and keys that are part of the path."""
        ...


@dataclass
class LinearPath(TorchFunctionMode):
    """Records the components of one forward of ``model``; use with :func:`following`.

    Attributes:
        components: in the order in which they were made.
        frozen: what was held at its value after the last layer (norms are always), by operation and path.
        paused: above zero while operations are an attention function's own or the library's.
        blocks: prefixes of the paths of the model's layers, once they are known.
    """

    model: nn.Module
    components: list[Component] = field(default_factory=list)
    frozen: dict[str, str] = field(default_factory=dict)
    paused: int = 0
    attended: int = 0
    running: list[nn.Module] = field(default_factory=list)
    outside: OutsideAttention | None = None
    names: dict[int, str] = field(default_factory=dict)
    _layers: frozenset[int] = frozenset()
    _attention: tuple[nn.Module, Tensor] | None = None
    _softmax: tuple[Tensor, tuple[nn.Module, ...]] | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.names = {id(module): name for name, module in self.model.named_modules()}
        self._layers = frozenset(
            id(member)
            for module in self.model.modules()
            if isinstance(module, (nn.ModuleList, nn.Sequential))
            for member in module
        )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        args = tuple(self._taken(arg) for arg in args)
        kwargs = {key: self._taken(value) for key, value in kwargs.items()}
        if name == "embedding":
            return self.begin(func(*args, **kwargs), "embedding", name)
        live = [arg for arg in _arrays((*args, *kwargs.values())) if arg.requires_grad]
        if not live:
            return func(*args, **kwargs)
        return self._run(func, name, args, kwargs, live)

    def _taken(self, value: Any) -> Any:
        """An argument: a parameter is a constant here, and what a custom autograd function gave begins anew."""
        if isinstance(value, nn.Parameter):
            return value.detach()
        if isinstance(value, Tensor) and isinstance(value.grad_fn, BackwardCFunction):
            return self.begin(value, "activation", type(value.grad_fn).__name__)
        if type(value) in (list, tuple):
            return type(value)(map(self._taken, value))
        return value

    def _run(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], live: list[Tensor]
    ) -> Any:
        if name == "__get__" or name in _LINEAR:
            return func(*args, **kwargs)
        if name in _DROPOUTS and not _is_training(args, kwargs):
            return func(*args, **kwargs)
        if name in _SUMS:
            # What is changed in place must stay the model's own; if it is no zero, the sum of all parts tells.
            kept = 1 if name in _IN_PLACE else 0
            kwargs = {key: self._summand(value) for key, value in kwargs.items()}
            return func(*args[:kept], *map(self._summand, args[kept:]), **kwargs)
        if name in _PRODUCTS or name in _MATRIX_PRODUCTS or name in _ADDED_PRODUCTS:
            carrier = self._carrier(name, args, live)
            if carrier is not None:
                return self._product(func, name, args, kwargs, carrier)
            attended = self._attended(func, name, args)
            if attended is not None:
                return attended
        if name == "scaled_dot_product_attention" and self.outside is not None and self.running:
            given = dict(zip(_FUSED, args, strict=False)) | kwargs
            output = func(*map(_cut, args), **{key: _cut(value) for key, value in kwargs.items()})
            return self.outside.on_fused(self.running[-1], self._path, given, output)
        if name == "layer_norm":
            return self._layer_norm(func, args, kwargs)
        if name == "rms_norm":
            return self._rms_norm(func, args, kwargs)
        made = func(*map(_cut, args), **{key: _cut(value) for key, value in kwargs.items()})
        if name in _THROUGH_ZERO and self._after_layers and isinstance(made, Tensor) and made.shape == live[0].shape:
            return self._frozen_slope(live[0], made, name)
        begun = self.begin(made, "activation", name)
        if name == "softmax":
            self._softmax = self.components[-1].tensor, tuple(self.running)
        return begun

    def _attended(self, func: Callable[..., Any], name: str, args: Sequence[Any]) -> Tensor | None:
        """The output of attention that a model writes itself: a softmax result of this module times values."""
        if name not in ("matmul", "bmm", "__matmul__") or self._softmax is None or self.outside is None:
            return None
        softmax, modules = self._softmax
        if not self.running or self.running[-1] not in modules or not _reaches(args[0], softmax):
            return None
        self._softmax = None
        weights, value = args[0].detach(), args[1].detach()
        return self.outside.on_weights(self.running[-1], self._path, weights, value, func(weights, value))

    def begin(self, made: Any, origin: Origin, operation: str, call: int | None = None) -> Any:
        """A new component: the same value, without what it was made of."""
        if isinstance(made, (tuple, list)) and not hasattr(made, "_fields"):
            return type(made)(self.begin(each, origin, operation, call) for each in made)
        if not isinstance(made, Tensor) or not made.is_floating_point():
            return made
        tensor = made.detach().requires_grad_()
        self.components.append(Component(tensor, origin, self._path, operation, call))
        # A clone, because a leaf may not be changed in place, and models do so.
        return tensor.clone()

    def attend(self, module: nn.Module, output: Tensor) -> Tensor:
        """An attention function's output, as a component."""
        made: Tensor = self.begin(output, "attention", "attention", self.attended)
        self.attended += 1
        self._attention = (module, self.components[-1].tensor)
        return made

    @property
    def _path(self) -> str:
        return self.names[id(self.running[-1])] if self.running else ""

    @property
    def _after_layers(self) -> bool:
        return self.attended > 0 and not any(id(module) in self._layers for module in self.running)

    def _summand(self, value: Any) -> Any:
        """A constant that is added becomes a component."""
        if isinstance(value, (list, tuple)):
            return type(value)(map(self._summand, value))
        # An empty one is a cache without past keys.
        if isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad and value.numel():
            return self.begin(value, "constant", "add")
        return value

    def _product(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], carrier: Tensor
    ) -> Any:
        """A product with one factor live; a bias that is added to it becomes a component."""
        held = [arg if arg is carrier else _cut(arg) for arg in args]
        bias = {"linear": 2, "conv1d": 2}.get(name, 0 if name in _ADDED_PRODUCTS else len(args))
        if bias < len(args) and isinstance(args[bias], Tensor):
            held[bias] = self._summand(args[bias])
        if kwargs.get("bias") is not None:
            kwargs = kwargs | {"bias": self._summand(kwargs["bias"])}
        return func(*held, **kwargs)

    def _carrier(self, name: str, args: Sequence[Any], live: list[Tensor]) -> Tensor | None:
        """The factor through which the path goes on, the others being held; None if the product begins anew.

        A factor of one number per token (a norm's scale, a router's weight) is held. So is a gate on what attention
        gave, and, after the last layer, the second of two.
        """
        if name in _ADDED_PRODUCTS:
            live = [arg for arg in args[1:] if isinstance(arg, Tensor) and arg.requires_grad]
        if len(live) <= 1:
            carrier = live[0] if live else None
            return None if name in _DIVISIONS and carrier is not None and carrier is not args[0] else carrier
        if name not in _PRODUCTS:
            return None
        first, second = live[0], live[1]
        if first.numel() != second.numel():
            wide, narrow = (first, second) if first.numel() > second.numel() else (second, first)
            if narrow.dim() == 0 or narrow.shape[-1] == 1:
                return wide if name not in _DIVISIONS or wide is args[0] else None
            return None
        if name in _DIVISIONS:
            return None
        if self._attention is not None and any(module is self._attention[0] for module in self.running):
            gated = [factor for factor in (first, second) if _reaches(factor, self._attention[1])]
            return gated[0] if len(gated) == 1 else None
        return first if self._after_layers else None

    def _layer_norm(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        named = dict(zip(("input", "normalized_shape", "weight", "bias", "eps"), args, strict=False)) | kwargs
        value, weight, bias = named["input"], named.get("weight"), named.get("bias")
        over = tuple(range(-len(named["normalized_shape"]), 0))
        eps = named.get("eps", 1e-5)
        wide = value if value.dtype in (torch.float32, torch.float64) else value.float()
        scale = (wide.detach().var(over, unbiased=False, keepdim=True) + eps).rsqrt()
        linear = (wide - wide.mean(over, keepdim=True)) * scale
        return self._with_value(func(*args, **kwargs), linear, weight, bias)

    def _rms_norm(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        named = dict(zip(("input", "normalized_shape", "weight", "eps"), args, strict=False)) | kwargs
        value = named["input"]
        over = tuple(range(-len(named["normalized_shape"]), 0))
        eps = named.get("eps")
        wide = value if value.dtype in (torch.float32, torch.float64) else value.float()
        eps = torch.finfo(value.dtype).eps if eps is None else eps
        scale = (wide.detach().pow(2).mean(over, keepdim=True) + eps).rsqrt()
        return self._with_value(func(*args, **kwargs), wide * scale, named.get("weight"), None)

    def _with_value(self, made: Tensor, linear: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """The model's own value, with the gradient of its linear form."""
        if weight is not None:
            linear = linear * weight
        if bias is not None:
            linear = linear + self.begin(bias, "constant", "layer_norm")
        return _straight_through(made, linear)

    def _frozen_slope(self, value: Tensor, made: Tensor, name: str) -> Tensor:
        self.frozen[name] = self._path
        slope = torch.where(value.detach() == 0, torch.zeros_like(made), made / value.detach())
        return _straight_through(made, value * slope)


def _straight_through(made: Tensor, linear: Tensor) -> Tensor:
    linear = linear.to(made.dtype)
    return made.detach() + (linear - linear.detach())


def moved(component: Component, gradient: Tensor) -> Tensor:
    """What a component moves along a gradient, cell by cell, float64; what has no gradient moves nothing, not even NaN.

    A mask has cells of -inf that reach nothing.
    """
    product = component.tensor.detach().double() * gradient.double()
    return product.masked_fill(gradient == 0, 0.0)


def _cut(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if type(value) in (list, tuple):
        return type(value)(map(_cut, value))
    return value


def _arrays(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif type(value) in (list, tuple):
            found += _arrays(value)
    return found


def _is_training(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("training", args[2] if len(args) > 2 else True))


def _reaches(tensor: Tensor, leaf: Tensor) -> bool:
    """Whether the graph of a tensor contains a leaf."""
    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if getattr(node, "variable", None) is leaf:
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


@contextmanager
def following(path: LinearPath) -> Iterator[LinearPath]:
    """Follow what the model does in this context; nothing stays on the model."""
    thread = get_ident()

    def enter(module: nn.Module, _: Any) -> None:
        if get_ident() == thread and id(module) in path.names:
            path.running.append(module)

    def leave(module: nn.Module, _: Any, __: Any) -> None:
        if get_ident() == thread and path.running and path.running[-1] is module:
            path.running.pop()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        with torch.enable_grad(), path:
            yield path
    finally:
        for handle in handles:
            handle.remove()
