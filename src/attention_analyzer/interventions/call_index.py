"""Which site each attention call of a forward belongs to, learned from one forward that nobody altered.

An attention function is not told where it is, and layers can only be numbered when all calls are known. So the model
runs once as it is, which is the "before" of every comparison, and its calls are met again, one by one, afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import CaptureError, UnsupportedModelError
from attention_analyzer.hooks.forward import as_written, batch_of, sequences_of
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.session import Capture, capturing
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.own_errors import named_errors
from attention_analyzer.random_state import restored_draws
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights


@dataclass(frozen=True)
class CallIndex:
    """The attention calls of a forward, in order.

    Attributes:
        calls: each call's site.
        modules: the module that made it.
        shapes: ``(queries, keys)`` of each site, by its name.
        chunked: names of sites that attend in several calls, none of which holds the whole axis.
    """

    calls: tuple[Site, ...]
    modules: tuple[nn.Module, ...]
    shapes: Mapping[str, tuple[int, int]]
    chunked: frozenset[str]

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys(self.calls))

    def site(self, number: int, call: AttentionCall) -> Site:
        """The site of the call that comes as the ``number``-th.

        Raises:
            CaptureError: it is another one than the untouched model made at this place.
        """
        if number >= len(self.calls) or self.modules[number] is not call.module:
            raise CaptureError(
                f"{call.name} is called in another order than in the original forward pass; "
                "interventions do not support models with data-dependent control flow."
            )
        return self.calls[number]


def observe(
    loaded: LoadedModel,
    inputs: Mapping[str, Any],
    *,
    valid: Tensor | None = None,
    beside: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[CallIndex, Any]:
    """Run the model as it is; the order of its calls, and its outputs.

    Args:
        valid: bool ``[batch, token]``, False for padding of the main text.
        beside: opened around the forward, such as another tap.

    Raises:
        UnsupportedModelError: attention that does not go through the library's interface, and so cannot be altered.
        CaptureError: a module's output is not what weights and values give, so it could not be altered faithfully.
    """
    numbered = count()

    def keep(_: CallSite, weights: AttentionWeights) -> tuple[int, int, int]:
        return next(numbered), weights.queries, weights.keys

    with loaded.evaluating() as model:
        model = getattr(model, "_orig_mod", model)
        capture = Capture(model, keep=keep, valid=valid, batch=batch_of(inputs), sequences=sequences_of(inputs))
        with named_errors(model, inputs), as_written(model), torch.no_grad(), beside(), capturing(capture):
            outputs = same_draws(model, inputs)
    if capture.at_interface < capture.calls or not capture.calls:
        kinds = ", ".join(sorted({type(place.module).__name__ for place in capture.places}))
        raise UnsupportedModelError(
            f"{type(model).__name__} does not compute its attention{f' ({kinds})' if kinds else ''} through "
            "transformers' attention interface, so it can be analyzed but not modified."
        )
    calls: dict[int, Site] = {}
    shapes, chunked = {}, set()
    for site, parts in capture.captured():
        for number, queries, keys in parts:
            calls[number] = site
            shapes[site.name] = (queries, keys)
        if len(parts) > 1:
            chunked.add(site.name)
    modules = tuple(place.module for place in capture.places)
    return CallIndex(tuple(calls[number] for number in range(len(calls))), modules, shapes, frozenset(chunked)), outputs


def same_draws(model: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """The model's outputs; a model that draws random numbers draws the same ones each time, and the caller's go on."""
    devices = {value.device for value in inputs.values() if isinstance(value, Tensor) and value.is_cuda}
    with restored_draws(devices, seed=0):
        return model(**inputs)
