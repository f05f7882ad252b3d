"""A forward in which some heads are changed: the tap, in the direction of an intervention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.hooks.forward import as_written
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.interventions.call_index import CallIndex, same_draws
from attention_analyzer.interventions.edits import HeadChange, changed_output
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Site

#: Changes by the site's name, then by head.
Plan = Mapping[str, Mapping[int, HeadChange]]


@dataclass
class Altering:
    """A listener that changes heads' outputs; where nothing is planned, the model's own tensor goes on."""

    order: CallIndex
    plan: Plan
    _reader: MaskReader = field(default_factory=MaskReader)
    _heard: int = 0

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        site = self.order.site(self._heard, call)
        self._heard += 1
        changes = self.plan.get(site.name)
        if not changes:
            return output
        if any(change.output is None for change in changes.values()):
            self._check_axes(site, call)
        with torch.no_grad():
            return changed_output(call, output, changes, self._reader)

    def _check_axes(self, site: Site, call: AttentionCall) -> None:
        sizes = (call.query.shape[2], call.key.shape[2])
        if site.name in self.order.chunked or sizes != self.order.shapes[site.name]:
            raise UnsupportedModelError(
                f"{site.name} attends in windows or chunks, so its edges and patterns cannot be changed; "
                "you can ablate its heads."
            )


@dataclass
class Listening:
    """A listener that shows every call's site and output to a function, and may change the output by it."""

    order: CallIndex
    see: Callable[[Site, Tensor], Tensor]
    _heard: int = 0

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        site = self.order.site(self._heard, call)
        self._heard += 1
        return self.see(site, output)


def run_altered(loaded: LoadedModel, inputs: Mapping[str, Any], order: CallIndex, plan: Plan) -> Any:
    """The model's outputs with some heads changed; without any change they are its own, to the bit.

    Raises:
        UnsupportedModelError: an edge or pattern was planned where a call does not hold the whole axis.
        CaptureError: the model takes another course than in the untouched forward.
    """
    with loaded.evaluating() as model:
        model = getattr(model, "_orig_mod", model)
        with as_written(model), torch.no_grad(), hook_attention(model, Altering(order, plan)):
            return same_draws(model, inputs)


@contextmanager
def seeing(loaded: LoadedModel, order: CallIndex, see: Callable[[Site, Tensor], Tensor]) -> Iterator[Any]:
    """The model, ready to be called with every attention output going through ``see``; gradients are the caller's."""
    with loaded.evaluating() as model:
        model = getattr(model, "_orig_mod", model)
        with as_written(model), hook_attention(model, Listening(order, see)):
            yield model
