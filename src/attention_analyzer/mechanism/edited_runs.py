"""Forwards of a model with some activations replaced, begun at the first layer that a replacement can change.

Attention functions are met at the library's interface, so heads and their queries, keys and values can be replaced in
any layout. To begin late, the model runs through a *shell*: a shallow copy of the modules that hold its layers, in
which earlier layers return what they returned before. All weights and later layers are the model's own objects, and
nothing is written to them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.forward import as_written
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.interventions.call_index import CallIndex, observe
from attention_analyzer.mechanism.naming import belongs_to_attention
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.signatures import forward_parameters
from attention_analyzer.module_hooks import hooks_removed, in_this_thread
from attention_analyzer.site import Site

#: What of a call is replaced: its output, or one of its inputs.
Slot = Literal["output", "query", "key", "value"]


@dataclass
class Activations:
    """What one forward of a batch showed.

    Attributes:
        slots: by site's name and slot: inputs ``[batch, head, token, channel]``, outputs
            ``[batch, token, head, channel]``.
        entering: what entered each layer, ``[batch, token, channel]``, by the layer's path.
        returned: what each layer returned, as it did.
        written: what each layer's MLP wrote, ``[batch, token, channel]``, by the layer's path.
    """

    logits: Tensor
    slots: dict[tuple[str, Slot], Tensor] = field(default_factory=dict)
    entering: dict[str, Tensor] = field(default_factory=dict)
    returned: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Tensor] = field(default_factory=dict)


#: Replaces an activation; gets it as the run computed it.
Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Edits:
    """What a run replaces: slots of sites, what enters layers, and what the MLPs of layers write."""

    slots: Mapping[tuple[str, Slot], Edit] = field(default_factory=dict)
    entering: Mapping[str, Edit] = field(default_factory=dict)
    written: Mapping[str, Edit] = field(default_factory=dict)


@dataclass
class _Hook:
    """At every attention call: keeps or replaces what goes in and comes out."""

    order: CallIndex
    edits: Mapping[tuple[str, Slot], Edit]
    seen: Activations | None = None
    grad: bool = False
    called: int = 0
    site: Site | None = None

    def before(self, call: AttentionCall) -> AttentionCall:
        self.site = self.order.site(self.called, call)
        self.called += 1
        changed: dict[str, Any] = {}
        for slot in ("query", "key", "value"):
            tensor = self._slot(slot, getattr(call, slot))
            if tensor is not getattr(call, slot):
                changed[slot] = tensor
        return replace(call, **changed) if changed else call

    def after(self, _: AttentionCall, output: Tensor) -> Tensor:
        return self._slot("output", output)

    def _slot(self, slot: Slot, tensor: Tensor) -> Tensor:
        assert self.site is not None
        edit = self.edits.get((self.site.name, slot))
        if edit is not None:
            tensor = edit(tensor)
        if self.grad and not tensor.requires_grad:
            tensor = tensor.detach().requires_grad_()
        if self.seen is not None:
            self.seen.slots[self.site.name, slot] = tensor
        return tensor


class Runs:
    """Runs one model on batches of texts of one length, with or without replacements.

    Args:
        options: further arguments of every forward.

    Raises:
        UnsupportedModelError: attention outside the library's interface.
    """

    def __init__(
        self, loaded: LoadedModel, inputs: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> None:
        self.loaded = loaded
        self.options = dict(options or {})
        self.order, _ = observe(loaded, inputs)
        if self.order.chunked:
            raise UnsupportedModelError(
                f"{loaded.name} attends in several calls per layer, so heads cannot be replaced."
            )
        self.sites = self.order.sites
        self.model = getattr(loaded.model, "_orig_mod", loaded.model)
        self._parameters = forward_parameters(self.model)
        self.layers = _layers(self.model, self.sites)
        self.mlps = {layer: path for layer in self.layers if (path := _mlp(self.model, layer, self.sites))}
        self.reuses = bool(self.layers)

    def layer_of(self, site: Site) -> str:
        """The path of the layer that a site belongs to; "" where layers were not found."""
        return next((path for path in self.layers if site.module.startswith(f"{path}.")), "")

    def see(self, inputs: Mapping[str, Any], *, grad: bool = False, edits: Edits | None = None) -> Activations:
        """A forward with every activation kept.

        Args:
            grad: whether gradients can be taken of the logits with respect to what is kept.
        """
        seen = Activations(torch.empty(0))
        with self._watched(seen):
            seen.logits = self._forward(self.model, inputs, edits or Edits(), seen, grad)
        if self.reuses and not grad and edits is None:
            self._prove(inputs, seen)
        return seen

    @contextmanager
    def _watched(self, seen: Activations) -> Iterator[None]:
        """A block in which what enters and leaves layers, and what their MLPs write, is kept."""

        def entered(path: str) -> Callable[..., None]:
            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                states = args[0] if args else kwargs.get("hidden_states")
                if isinstance(states, Tensor):
                    seen.entering[path] = states

            return hook

        def left(path: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, made: Any) -> None:
                seen.returned[path] = made

            return hook

        def wrote(layer: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, made: Any) -> None:
                states = made[0] if isinstance(made, tuple) else made
                if isinstance(states, Tensor):
                    seen.written[layer] = states

            return hook

        modules = dict(self.model.named_modules())
        with hooks_removed() as handles:
            for layer, path in self.mlps.items():
                handles.append(modules[path].register_forward_hook(in_this_thread(wrote(layer))))
            for path in self.layers:
                enters = in_this_thread(entered(path))
                handles.append(modules[path].register_forward_pre_hook(enters, with_kwargs=True))
                handles.append(modules[path].register_forward_hook(in_this_thread(left(path))))
            yield

    def logits(self, inputs: Mapping[str, Any], edits: Edits, base: Activations | None = None) -> Tensor:
        """Logits ``[batch, position, vocabulary]`` with activations replaced.

        Args:
            base: of the same inputs without replacements: layers before the first replacement return what they
                returned there.
        """
        start = self._start(edits) if base is not None and self.reuses else 0
        if base is None or start == 0:
            return self._forward(self.model, inputs, edits)
        return self._late(inputs, edits, base, start)

    def _late(self, inputs: Mapping[str, Any], edits: Edits, base: Activations, start: int) -> Tensor:
        shell = _shell(self.model, {path: base.returned[path] for path in self.layers[:start]})
        skipped = sum(1 for site in self.order.calls if self.layer_of(site) in self.layers[:start])
        return self._forward(shell, inputs, edits, called=skipped)

    def _start(self, edits: Edits) -> int:
        """The number of the first layer that a replacement touches."""
        sites = {site.name: site for site in self.sites}
        paths = [*edits.entering, *edits.written, *(self.layer_of(sites[name]) for name, _ in edits.slots)]
        return min((self.layers.index(path) if path in self.layers else 0 for path in paths), default=0)

    def _prove(self, inputs: Mapping[str, Any], seen: Activations) -> None:
        """That a late start gives the same bits; where it does not, every run is whole."""
        middle = len(self.layers) // 2
        try:
            same = torch.equal(self._late(inputs, Edits(), seen, middle), seen.logits)
        except Exception:  # noqa: BLE001 (whatever a model does with its layers, whole runs are still right)
            same = False
        self.reuses = same

    def _forward(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        edits: Edits,
        seen: Activations | None = None,
        grad: bool = False,
        called: int = 0,
    ) -> Tensor:
        hook = _Hook(self.order, edits.slots, seen, grad, called)
        modules = dict(model.named_modules())

        def entering(edit: Edit) -> Callable[..., Any]:
            def change(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if args:
                    return (edit(args[0]), *args[1:]), kwargs
                return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])}

            return change

        def writing(edit: Edit) -> Callable[..., Any]:
            def change(_: nn.Module, __: Any, made: Any) -> Any:
                return (edit(made[0]), *made[1:]) if isinstance(made, tuple) else edit(made)

            return change

        options = self.options | ({"use_cache": False} if "use_cache" in self._parameters else {})
        with hooks_removed() as handles:
            for path, edit in edits.entering.items():
                enters = in_this_thread(entering(edit))
                handles.append(modules[path].register_forward_pre_hook(enters, with_kwargs=True))
            for layer, edit in edits.written.items():
                writes = in_this_thread(writing(edit))
                handles.append(modules[self.mlps[layer]].register_forward_hook(writes))
            with (
                self.loaded.evaluating(),
                as_written(model),
                torch.set_grad_enabled(grad),
                hook_attention(model, hook),
            ):
                outputs = model(**inputs, **options)
        logits = getattr(outputs, "logits", None)
        if not isinstance(logits, Tensor) or logits.dim() != 3:
            raise UnsupportedModelError(
                f"{type(self.loaded.model).__name__} has no language-model head, so there is no logit of a token; load "
                "the model with one (model_class='AutoModelForCausalLM')."
            )
        return logits


def _layers(model: nn.Module, sites: Sequence[Site]) -> list[str]:
    """Paths of the model's layers in order: the members of the one list that holds all attention; else none."""
    holders = {path.rpartition(".")[0] for path in map(_layer_path, (site.module for site in sites))}
    if len(holders) != 1 or "" in holders:
        return []
    holder = holders.pop()
    members = model.get_submodule(holder)
    if not isinstance(members, nn.ModuleList):
        return []
    return [f"{holder}.{name}" for name, _ in members.named_children()]


def _layer_path(module: str) -> str:
    parts = module.split(".")
    number = next((at for at, part in enumerate(parts) if part.isdigit()), None)
    return "" if number is None else ".".join(parts[: number + 1])


def _mlp(model: nn.Module, layer: str, sites: Sequence[Site]) -> str:
    """The path of the module that writes what a layer computes outside of attention; "" if there is none.

    It is the smallest module around all weight matrices that belong to no attention. Where that is the layer itself
    (BERT, OPT, linear attention), it is the one in the layer's last member.
    """
    holders = [
        f"{layer}.{name}".split(".")
        for name, module in model.get_submodule(layer).named_modules()
        if name
        and any(weight.dim() > 1 for weight in module.parameters(recurse=False))
        and not any(belongs_to_attention(f"{layer}.{name}", site.module) for site in sites)
    ]
    depth = len(layer.split("."))
    if len({holder[depth] for holder in holders}) > 1:
        holders = [holder for holder in holders if holder[depth] == holders[-1][depth]]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*holders, strict=False))
    return ".".join(names[0] for names in shared)


class _Returned(nn.Module):
    """Stands for a layer that has run: returns what it returned, and shows the layer's own attributes."""

    def __init__(self, layer: nn.Module, made: Any) -> None:
        super().__init__()
        self.__dict__["_layer"], self.__dict__["_made"] = layer, made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_layer"], name)

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.__dict__["_made"]


def _shell(model: nn.Module, returned: Mapping[str, Any]) -> nn.Module:
    """A shallow copy of the model in which some layers return what is given; weights and the rest are shared."""
    shell = _copied(model)
    copies = {"": shell}
    for path, made in returned.items():
        holder, _, name = path.rpartition(".")
        walked, parent = "", shell
        for part in holder.split("."):
            walked = f"{walked}.{part}" if walked else part
            if walked not in copies:
                copies[walked] = _children(parent)[part] = _copied(_children(parent)[part])
            parent = copies[walked]
        _children(parent)[name] = _Returned(_children(parent)[name], made)
    return shell


def _children(module: nn.Module) -> dict[str, nn.Module]:
    children: dict[str, nn.Module] = module.__dict__["_modules"]
    return children


def _copied(module: nn.Module) -> nn.Module:
    """The same parameters and buffers, with a table of children of its own."""
    made = copy.copy(module)
    made.__dict__ = dict(module.__dict__) | {"_modules": dict(_children(module))}
    return made
