"""ALTI and ALTI-Logit: how much of each token's vector after attention came from which token (Ferrando et al.).

The residual stream is followed through each layer with its norms held (:mod:`..mechanism.linear_path`). What a layer
returns at a position, without its MLP and biases, is then a sum of vectors: one for every token that its heads read,
and what entered the layer at the position itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Axis, Question, SiteWeights
from attention_analyzer.attribution.method import Attribution, RawAttribution
from attention_analyzer.attribution.propagation import walk_back
from attention_analyzer.errors import Option, TooLongError, UnsupportedModelError
from attention_analyzer.mechanism.effects import source_effects
from attention_analyzer.mechanism.trace import Trace, TracedCall, TracedLayer, gradients, trace

#: Tokens of the longest text; the cost grows with its square.
MOST_TOKENS = 1024


@dataclass(frozen=True)
class LayerShares(SiteWeights):
    """One site's shares of what its layer makes.

    Attributes:
        stays: ``[query]``: how much of the layer's vector is left for what comes before this site.
        moves: ``[query, key]``: how much of it comes from each key. The diagonal of self-attention has what entered the
            layer at the position itself, too.
    """

    call: TracedCall
    stays: Tensor
    moves: Tensor


@dataclass(frozen=True)
class Mixing:
    """What tokens exchange in all layers of a model on one text.

    Attributes:
        run: the trace that it is read from; ``sites``: in the order of the calls.
    """

    run: Trace
    sites: tuple[LayerShares, ...]

    @cached_property
    def calls(self) -> list[Tensor]:
        """The output of each call, a component of the stream."""
        return [at.call.output for at in self.sites if at.call.output is not None]


def mixing(question: Question) -> Mixing:
    """The shares of every layer; each layer's rows sum to one.

    Raises:
        TooLongError: the text is too long for a method whose cost grows with its square.
        UnsupportedModelError: a layer cannot be followed.
    """
    size = len(question.tokens)
    if size > MOST_TOKENS:
        raise TooLongError(
            f"ALTI of {size} tokens needs all pairs of them in every layer; the limit is {MOST_TOKENS}",
            [Option("method", "'rollout'", "use {}")],
        )
    run = trace(question.loaded, question.inputs, probes=True)
    groups: dict[int, tuple[TracedLayer, list[TracedCall]]] = {}
    for call in run.calls:
        layer = run.layer_of(call)
        groups.setdefault(id(layer), (layer, []))[1].append(call)
    sites: list[LayerShares] = []
    for layer, calls in groups.values():
        sites += _shares(question, layer, calls)
    return Mixing(run, tuple(sites))


def _shares(question: Question, layer: TracedLayer, calls: Sequence[TracedCall]) -> list[LayerShares]:
    assert layer.left is not None
    push = _Push(layer.left, [layer.probe, *(call.output for call in calls if call.output is not None)])
    own = push(0, layer.states)
    if own is None:
        raise UnsupportedModelError(
            f"What {layer.path} returns does not contain what entered it, so its parts cannot be told; methods that "
            "need only weights are available."
        )
    parts = [_parts(push, 1 + number, call) for number, call in enumerate(calls)]
    whole = own + torch.stack([part.sum(0) for part in parts]).sum(0)
    size = whole.abs().sum(-1)

    def close(vector: Tensor) -> Tensor:
        return (size - (whole - vector).abs().sum(-1)).clamp(min=0)

    own_share = torch.zeros(len(own), dtype=torch.double)
    if calls[0].site is not None and calls[0].site.kind == "self":
        diagonal = torch.arange(len(own))
        parts[0][diagonal, diagonal] += own
    else:
        own_share = close(own)
    shares = [torch.stack([close(vector) for vector in part]).T for part in parts]  # [query, key]
    totals = torch.stack([own_share, *(share.sum(1) for share in shares)])
    # Where nothing points the vector's way, it is the token's own.
    lost = totals.sum(0) <= 0
    totals[0] = torch.where(lost, 1.0, totals[0])
    found = []
    for number, (call, share) in enumerate(zip(calls, shares, strict=True)):
        assert call.site is not None and call.weights is not None
        # Sites are walked from the last: what they leave is divided among those before.
        so_far = totals[: number + 2].sum(0).clamp(min=1e-300)
        stays = totals[: number + 1].sum(0) / so_far
        axes = question.axes(call.site, call.weights)
        found.append(LayerShares(call.site, call.weights, *axes, call, stays, share / so_far[:, None]))
    return found


def _parts(push: _Push, number: int, call: TracedCall) -> Tensor:
    """``[key, query, channel]``: what the call's heads wrote at every query for each key, as the layer returns it."""
    assert call.weights is not None
    weights = call.weights.full().double()
    value = call.value.repeat_interleave(call.heads // call.value.shape[0], dim=0).detach().double()
    parts = []
    for key in range(weights.shape[2]):
        written = torch.einsum("hq,hc->qhc", weights[:, :, key], value[:, key])
        moved = push(number, written[None].to(call.value.dtype))
        if moved is None:
            raise UnsupportedModelError(f"What the heads of {call.site} write does not reach what their layer returns.")
        parts.append(moved)
    return torch.stack(parts)


class _Push:
    """Takes changes of some tensors of the followed path to the change of a layer's result, ``[token, channel]``.

    The gradient is linear in what it is weighted with, so its own derivative takes a change forward.
    """

    def __init__(self, left: Tensor, tensors: list[Tensor]) -> None:
        self._weighting = torch.zeros_like(left, requires_grad=True)
        self._gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            left, tensors, self._weighting, create_graph=True, allow_unused=True
        )

    def __call__(self, number: int, change: Tensor) -> Tensor | None:
        gradient = self._gradients[number]
        if gradient is None or not gradient.requires_grad:
            return None
        shaped = change.reshape(gradient.shape).to(gradient.device)
        found = torch.autograd.grad(gradient, self._weighting, shaped, retain_graph=True)[0]
        return found.detach().reshape(-1, found.shape[-1]).double().cpu()


def passed_back(at: LayerShares, vector: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a walk from the last site to the first."""
    return vector * at.stays, vector @ at.moves


class Alti(Attribution):
    """ALTI (Ferrando, Gállego & Costa-jussà 2022): shares of each layer's vectors, multiplied over layers.

    A token's share of ``y = Σ_j T_j`` is ``max(0, ‖y‖₁ - ‖y - T_j‖₁)``, normalized over tokens (eq. 9 and 10). ``T_j``
    is what all heads write for the token, through the output projection and the norms at their scales; the position's
    own has the residual connection, too. Where norms follow (BERT), ``y`` is what the layer returns without its MLP.
    """

    name = "alti"
    title = "ALTI"
    limited = True

    def find(self, question: Question) -> RawAttribution:
        found = walk_back(mixing(question).sites, question.start, question.last_axis, passed_back)
        whole = sum(float(vector.sum()) for vector in found.values())
        notes = {"share_on_target": float(found["target"].sum()) / whole} if "target" in found else {}
        return RawAttribution(_source(found, question), notes)


class AltiLogit(Attribution):
    """ALTI-Logit (Ferrando et al. 2023): what heads add to the target for each token, carried back by ALTI.

    A head's direct effect splits exactly by the token that it reads. What stands at that token in a deeper layer is a
    mixture, so its effect is divided among the text's tokens by the ALTI shares of the layers below. Effects of MLPs
    and of the embedding at the position itself are left out; the notes say how much heads add in all.
    """

    name: ClassVar[str] = "alti_logit"
    title: ClassVar[str] = "ALTI-Logit"
    follows_target: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    limited: ClassVar[bool] = True

    def find(self, question: Question) -> RawAttribution:
        mixed = mixing(question)
        value = question.target.values(mixed.run.outputs, question.whole).sum()
        found = gradients(value, mixed.calls)
        added = {id(at.call): _added(at.call, gradient) for at, gradient in zip(mixed.sites, found, strict=True)}

        def step(at: LayerShares, vector: Tensor) -> tuple[Tensor, Tensor]:
            stays, moves = passed_back(at, vector)
            return stays, moves + added[id(at.call)]

        nothing = torch.zeros_like(question.start)
        vectors = walk_back(mixed.sites, nothing, question.last_axis, step)
        notes = {"added_by_heads": sum(float(each.sum()) for each in added.values()), "target": float(value.detach())}
        return RawAttribution(_source(vectors, question), notes)


def _added(call: TracedCall, gradient: Tensor | None) -> Tensor:
    """What the call's heads add to the target for each key, float64 ``[key]``."""
    assert call.weights is not None
    if gradient is None:
        return torch.zeros(call.weights.keys, dtype=torch.double)
    by_head = gradient[0].reshape(gradient.shape[1], call.heads, -1)
    return source_effects(call, by_head.detach()).sum(0).detach().double().cpu()


def _source(vectors: dict[Axis, Tensor], question: Question) -> Tensor:
    return vectors.get("source", torch.zeros(len(question.tokens), dtype=torch.double))
