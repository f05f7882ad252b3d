"""Value zeroing: how far each token's vector moves when a layer cannot read another token's value."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from attention_analyzer.attribution.context import Question, SiteWeights
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.propagation import walk_back
from attention_analyzer.errors import Option, TooLongError, UnsupportedModelError
from attention_analyzer.hooks.forward import as_written
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.interventions.call_index import CallIndex, observe
from attention_analyzer.module_hooks import hooks_removed, in_this_thread
from attention_analyzer.site import Site

#: Forwards of the text that the method may take: every token in every layer is one.
MOST_FORWARDS = 8_192
#: Variants of the text that run together.
_AT_ONCE = 16


class _EnoughSeen(Exception):  # noqa: N818 (no error: it ends a forward whose rest is not needed)
    """The layer that is measured has returned."""


@dataclass
class _Zeroing:
    """At one call of attention, each row of the batch misses the values of one key.

    Attributes:
        number: of the call; ``keys``: of each row, the key without a value; -1 for none.
    """

    number: int
    keys: Tensor
    called: int = 0
    left: Tensor | None = field(default=None)

    def before(self, call: AttentionCall) -> AttentionCall:
        self.called += 1
        if self.called - 1 != self.number:
            return call
        value = call.value.clone()
        for row, key in enumerate(self.keys.tolist()):
            if key >= 0:
                value[row, :, key] = 0
        return replace(call, value=value)

    def after(self, _: AttentionCall, output: Tensor) -> Tensor:
        return output

    def leave(self, _: nn.Module, __: Any, made: Any) -> None:
        if self.called > self.number:
            self.left = made[0] if isinstance(made, tuple) else made
            raise _EnoughSeen


class ValueZeroing(Attribution):
    """Value zeroing (Mohebbi et al. 2023): rows of cosine distances, normalized, multiplied over layers.

    In each layer the value vectors of one token at a time are set to zero, in all heads. How far the layer's output at
    another position moves (one minus the cosine) is what that position took from the token; no residual is added,
    because a layer's output has it already. Cross-attention is a further part of its layer's rows.
    """

    name: ClassVar[str] = "value_zeroing"
    title: ClassVar[str] = "value zeroing"
    limited: ClassVar[bool] = True

    def find(self, question: Question) -> RawAttribution:
        order, _ = observe(question.loaded, question.inputs)
        if order.chunked:
            raise UnsupportedModelError(
                f"{question.loaded.name} attends in several calls per layer, so values cannot be zeroed token by token."
            )
        total = sum(order.shapes[site.name][1] for site in order.sites)
        if total > MOST_FORWARDS:
            raise TooLongError(
                f"Value zeroing runs the text once per token and layer, here {total:,} times; the limit is "
                f"{MOST_FORWARDS:,}",
                [Option("method", "'alti'", "use {}")],
            )
        weights = {at.site.name: at for at in question.sites}
        moved = {site.name: _moved(question, order, number) for number, site in enumerate(order.calls)}
        layers: dict[str, list[Site]] = {}
        for site in order.calls:
            layers.setdefault(_layer_path(site), []).append(site)

        def step(at: SiteWeights, vector: Tensor) -> tuple[Tensor, Tensor]:
            members = layers[_layer_path(at.site)]
            totals = torch.stack([moved[site.name].sum(1) for site in members[: members.index(at.site) + 1]])
            own, so_far = moved[at.site.name], totals.sum(0)
            still = so_far <= 0
            shares = own / so_far.masked_fill(still, 1)[:, None]
            stays = torch.where(still, 1.0, (so_far - totals[-1]) / so_far.masked_fill(still, 1))
            return vector * stays, vector @ shares

        found = walk_back([weights[site.name] for site in order.calls], question.start, question.last_axis, step)
        return RawAttribution(found.get("source", torch.zeros(len(question.tokens), dtype=torch.double)))


def _layer_path(site: Site) -> str:
    """The outermost numbered module around a site, which is its layer."""
    parts = site.module.split(".")
    number = next((at for at, part in enumerate(parts) if part.isdigit()), None)
    if number is None:
        raise UnsupportedModelError(f"The layer around {site} was not found, so what leaves it cannot be compared.")
    return ".".join(parts[: number + 1])


def _moved(question: Question, order: CallIndex, number: int) -> Tensor:
    """``[query, key]``: how far the layer's output moves at each query without each key's value."""
    site = order.calls[number]
    queries, keys = order.shapes[site.name]
    whole = _left(question, number, site, torch.tensor([-1]))
    found = torch.zeros(queries, keys, dtype=torch.double)
    for chosen in torch.arange(keys).split(question.loaded.at_once(_AT_ONCE)):
        without = _left(question, number, site, chosen)
        found[:, chosen] = (1 - cosine_similarity(without, whole, dim=-1)).clamp(min=0).T
    # What is not seen moves nothing; a rounding error there is no share.
    visible = _seen(question, site, queries, keys)
    return found if visible is None else found.masked_fill(~visible, 0)


def _seen(question: Question, site: Site, queries: int, keys: int) -> Tensor | None:
    """Which keys any head of a site sees, bool ``[query, key]``; None for all."""
    weights = next(at.weights for at in question.sites if at.site.name == site.name)
    seen = weights.visibility.seen(slice(0, queries), slice(0, keys), slice(0, 1), torch.device("cpu"))
    return None if seen is None else seen[0].any(0).expand(queries, keys)


def _left(question: Question, number: int, site: Site, keys: Tensor) -> Tensor:
    """What the layer returns, float64 ``[row, query, channel]``, each row without the value of one key."""
    loaded = question.loaded
    rows = len(keys)
    inputs = {
        name: value.expand(rows, *value.shape[1:]) if isinstance(value, Tensor) and value.shape[:1] == (1,) else value
        for name, value in question.inputs.items()
    }
    zeroing = _Zeroing(number, keys)
    with loaded.evaluating() as model, hooks_removed() as handles, torch.no_grad():
        inside = getattr(model, "_orig_mod", model)
        layer = inside.get_submodule(_layer_path(site))
        handles.append(layer.register_forward_hook(in_this_thread(zeroing.leave)))
        with suppress(_EnoughSeen), as_written(inside), hook_attention(inside, zeroing):
            inside(**inputs)
    if zeroing.left is None or zeroing.left.dim() != 3:
        raise UnsupportedModelError(
            f"What the layer of {site} returns is no sequence of vectors, so it is not compared."
        )
    return zeroing.left.double().cpu()
