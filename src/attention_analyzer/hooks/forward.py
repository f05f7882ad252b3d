"""The front door of this room: run a model once and have the attention of every site."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast
from warnings import catch_warnings, filterwarnings
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.session import Capture, capturing, recorded_sites
from attention_analyzer.models.own_errors import named_errors
from attention_analyzer.models.structure import modules
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights

Kept = TypeVar("Kept")
#: Classes that are called attention, but not what stands beside it (EdgeTAM's MLPs, Phi-4's bias).
_ATTENTION = re.compile(r"(?=.*(atten|attn))(?!.*(MLP|Bias)$)", re.IGNORECASE)
#: Inputs that say how many texts or images a forward holds, the main one first.
_MAIN_INPUTS = ("input_ids", "inputs_embeds", "decoder_input_ids", "input_features", "input_values", "pixel_values")

#: Models that were watched once and had all their attention at the interface, with the modules heard then. They need
#: not be watched again while the same modules are heard.
_interface_only: WeakKeyDictionary[nn.Module, set[frozenset[int]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class CapturedForward(Generic[Kept]):
    """What one forward showed.

    Attributes:
        sites: every site in the order it was called, with its weights, or with what ``keep`` made of them.
        outputs: the model's own outputs, as if nobody had listened.
        exact: True where all weights are recomputed from queries and keys; False where a model handed some over.
        deviation: largest relative deviation met when module outputs were rebuilt from the weights.
        not_captured: paths of attention modules that ran without a softmax over keys (linear, deformable … attention).
        doors: how many calls were captured in which way; see :mod:`.doors`.
    """

    sites: list[tuple[Site, Kept]]
    outputs: Any
    exact: bool
    deviation: float
    not_captured: tuple[str, ...] = ()
    doors: Mapping[str, int] = field(default_factory=dict)


def capture_forward(
    model: nn.Module,
    inputs: Mapping[str, Any],
    *,
    valid: Tensor | None,
    keep: Callable[[CallSite, AttentionWeights], Any] | None = None,
    check: bool = True,
    grad: bool = False,
    store: torch.device | None = None,
) -> CapturedForward[Any]:
    """Run ``model(**inputs)`` and have the attention weights of every site.

    Args:
        model: any transformers model, in the attention implementation it was loaded with. One that was compiled runs
            as it was written.
        inputs: keyword arguments of its forward.
        valid: bool ``[batch, token]``, False for padding of the main text; None if there is none.
        keep: called inside the forward with each call's place and weights; what it returns is kept instead of the
            weights. Called once per chunk where a module attends in chunks; the last result is kept.
        check: whether outputs are rebuilt from the weights and compared.
        grad: whether the forward may record gradients.
        store: where the weights' queries and keys are kept, each moved there as soon as it was heard; by default where
            the model computed them.

    Raises:
        InputError: the model itself fails on the inputs.
        UnsupportedModelError: the model has no attention that can be had as ``[head, query, key]``.
        CaptureError: the weights do not reproduce the model's own outputs.
    """
    model = getattr(model, "_orig_mod", model)
    for outside in (model not in _interface_only or _remember(inputs), True):
        capture: Capture[Any] = Capture(
            model,
            keep=keep or _kept_on(store),
            valid=valid,
            check=check,
            batch=batch_of(inputs),
            sequences=sequences_of(inputs),
        )
        with (
            named_errors(model, inputs),
            as_written(model),
            torch.set_grad_enabled(grad),
            capturing(capture, outside=outside),
        ):
            outputs = model(**inputs)
        heard = frozenset(id(place.module) for place in capture.places)
        if outside or heard in _interface_only[model]:
            break
    not_captured = not_shown(capture) if outside else {}
    if outside:
        note_interface_only(model, capture, not_captured)
    if capture.calls == 0:
        raise UnsupportedModelError(nothing_captured(capture))
    if keep is None:
        sites = recorded_sites(cast("Capture[AttentionWeights]", capture))
    else:
        sites = [(site, parts[-1]) for site, parts in capture.captured()]
    return CapturedForward(sites, outputs, capture.exact, capture.deviation, tuple(not_captured), capture.doors)


def has_interface_only(model: nn.Module) -> bool:
    """Whether a forward of the model was watched and had all its attention at the interface."""
    return model in _interface_only


def note_interface_only(model: nn.Module, capture: Capture[Any], not_captured: Mapping[str, str] | None = None) -> None:
    """Remember, after a forward that was watched, that all its attention was at the interface, if it was."""
    missed = not_shown(capture) if not_captured is None else not_captured
    if not missed and capture.at_interface == capture.calls > 0:
        _interface_only.setdefault(model, set()).add(frozenset(id(place.module) for place in capture.places))


def _remember(inputs: Mapping[str, Any]) -> bool:
    """Whether an input is a session or a cache, which a forward writes into, so that there is no second one."""
    plain = (Tensor, str, bool, int, float, list, tuple, Mapping, type(None))
    return not all(isinstance(value, plain) for value in inputs.values())


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """A model that was compiled, or a part of which was, runs as it was written.

    What has been traced asks for no attention function any more.
    """
    compiled = any(
        "_orig_mod" in module._modules or vars(module).get("_compiled_call_impl") is not None
        for module in modules(model)
    )
    if not compiled and not hasattr(model, "_orig_mod"):
        yield
        return
    with torch.compiler.set_stance("force_eager"), catch_warnings():
        # Hooks see a compiled part and the part as written, one inside the other, and count it once.
        filterwarnings("ignore", message="Using `torch.compile.module.` when there are global hooks")
        yield


def _kept_on(store: torch.device | None) -> Callable[[CallSite, AttentionWeights], AttentionWeights]:
    """Keeps the weights themselves; on another device, masks and biases that sites share are moved once."""
    moved: dict[int, tuple[Any, Any]] = {}

    def once(shared: Any) -> Any:
        if shared is None:
            return None
        if id(shared) not in moved:
            # Holding the original keeps its identity from being given to another.
            moved[id(shared)] = (shared, shared.to(store))
        return moved[id(shared)][1]

    def keep(place: CallSite, weights: AttentionWeights) -> AttentionWeights:
        if store is None:
            return weights
        if isinstance(weights, DenseWeights):
            return weights.to(store)
        assert isinstance(weights, QueryKeyWeights)
        source = weights.source
        return QueryKeyWeights(
            replace(
                source,
                query=source.query.to(store),
                key=source.key.to(store),
                visibility=once(source.visibility),
                bias=once(source.bias),
                sinks=None if source.sinks is None else source.sinks.to(store),
            )
        )

    return keep


def batch_of(inputs: Mapping[str, Any]) -> int | None:
    """Texts or images in a forward: the first axis of its main input; a session is of one film."""
    if "inference_session" in inputs:
        return 1
    tensors = [value for value in (inputs.get(name) for name in _MAIN_INPUTS) if isinstance(value, Tensor)]
    tensors += [value for value in inputs.values() if isinstance(value, Tensor) and value.dim() > 1]
    return tensors[0].shape[0] if tensors else None


def sequences_of(inputs: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """Shapes, without channels, of the sequences of vectors among a forward's inputs."""
    numbers = (value for value in inputs.values() if isinstance(value, Tensor) and value.is_floating_point())
    return tuple(tuple(value.shape[:-1]) for value in numbers if value.dim() > 2)


def not_shown(capture: Capture[Any]) -> dict[str, str]:
    """Path and class of the modules that attended, but not in a way that was captured.

    They are called attention, or a softmax of products in them weighed no values that were seen.
    """
    assert capture.watch is not None
    missed = _unheard(capture)
    captured = {place.path for place in capture.places}
    kinds = {
        name: type(capture.watch.ran[key]).__name__
        for key, name in capture.watch.names.items()
        if key in capture.watch.ran
    }
    return missed | {
        path: kinds[path]
        for path in capture.watch.tracker.missed
        if path in kinds and path not in captured and not any(_within(path, name) for name in missed)
    }


def _unheard(capture: Capture[Any]) -> dict[str, str]:
    """Path and class of the innermost modules that are called attention, ran, and were not heard at, in or above."""
    assert capture.watch is not None
    ran = [(name, capture.watch.ran[key]) for key, name in capture.watch.names.items() if key in capture.watch.ran]
    named = {name: type(module).__name__ for name, module in ran if _ATTENTION.match(type(module).__name__)}
    heard = {place.path for place in capture.places}
    related = {name for name in named if any(_within(path, name) or _within(name, path) for path in heard)}
    return {
        name: kind
        for name, kind in named.items()
        if name not in related and not any(other != name and _within(other, name) for other in named)
    }


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}.") or outer == ""


def nothing_captured(capture: Capture[Any]) -> str:
    """Why there is nothing to show; that there is no attention is said only where nothing could be one."""
    name, watch = type(capture.model).__name__, capture.watch
    assert watch is not None
    if unheard := _unheard(capture):
        kinds = ", ".join(sorted(set(unheard.values())))
        return (
            f"The attention of {name} ({kinds}) has no weights over keys that can be captured; "
            "this architecture is not supported."
        )
    tracker = watch.tracker
    if tracker.unshown or tracker.unused:
        places = ", ".join(path or "the model itself" for path in list(tracker.unshown or tracker.unused)[:3])
        return (
            f"{name} computes a softmax in {places}, but multiplies no values with all of it as [query, key] weights, "
            "so there is nothing to show; write it as a matrix product, or call scaled_dot_product_attention."
        )
    if tracker.by_hand:
        places = ", ".join(path or "the model itself" for path in list(tracker.by_hand)[:3])
        return (
            f"{name} takes exponentials of products of activations in {places}, as in a softmax that is written out, "
            "which cannot be followed; call softmax or scaled_dot_product_attention there."
        )
    if tracker.activations_met or not watch.ran:
        return (
            f"{name} multiplies activations but runs no softmax over keys and none of torch's attention functions, so "
            "there are no attention weights to show."
        )
    return f"{name} ran without any attention, so there is nothing to show."
