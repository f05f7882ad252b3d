"""Direct effects: what every head, source token, MLP, embedding and bias adds to a logit by itself.

With the scale of each norm held at its value, a logit is a sum over the components of the residual stream
(Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Nostalgebraist's logit lens read backwards).
A head's part of the sum splits further by source token: ``Σ_k A[q, k] ⟨v_k, g⟩`` with ``g`` the gradient at the head's
output, which is ``W_O`` times the direction of the logit. Norm-weighted attention (Kobayashi et al. 2020) is the length
of the same vectors without a direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError, UnsupportedModelError
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.mechanism.effects_result import Effects
from attention_analyzer.mechanism.linear_path import Component, moved
from attention_analyzer.mechanism.naming import Part, PartNames
from attention_analyzer.mechanism.target import Token, axis_of, choose_target, last_logits, logits_of
from attention_analyzer.mechanism.trace import Trace, TracedCall, gradients, trace
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.text.tokens import Tokens

#: How far the sum of all effects may be from the logit, relative to the largest of 1, the logit and any effect.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def effects(
    loaded: LoadedModel,
    text: str | Pair,
    *,
    target: Token | None = None,
    versus: Token | None = None,
    position: int | None = None,
    truncate: bool = False,
) -> Effects:
    """What each part of the model adds to a logit directly, in one forward and a short backward.

    Args:
        text: a text; a pair of texts, or source and target of an encoder–decoder.
        target: the token whose logit is explained, as text or number; by default the most probable one.
        versus: a token whose logit is subtracted, so that only what tells the two apart is left.
        position: where the prediction is read: by default at the last token, or at the mask.
        truncate: cut what the model has no positions for, instead of refusing it.

    Raises:
        InputError: a target that is not one token; SelectionError: there is no such position.
        UnsupportedModelError: the model has no language-model head, or its stream cannot be followed.
        CaptureError: the effects do not sum to the logit.
    """
    prepared = prepare(loaded, [text], truncate=truncate)
    run = trace(loaded, prepared.inputs | last_logits(loaded, position))
    logits = logits_of(loaded, run.outputs)
    chosen = choose_target(loaded, prepared, logits, target, versus, position)
    value = chosen.of(logits)
    # What does not touch the logits at all has no graph to be asked about.
    found = gradients(value, [component.tensor for component in run.components], retain=False)
    check_finite(loaded, value)
    table = _Table(loaded, run, found)
    for component, gradient in zip(run.components, found, strict=True):
        if gradient is not None:
            table.add(component, gradient)
    rows = table.frame()
    total = math.fsum(rows["effect"])
    check_sum(loaded, float(value.detach()), rows["effect"].tolist(), logits.dtype)
    _check_followed(loaded, run, found, float(value.detach()))
    return Effects(
        rows=rows,
        sources=table.sources,
        logit=float(value.detach()),
        deviation=abs(total - float(value.detach())),
        target=chosen.name,
        versus=chosen.versus_name,
        position=chosen.position,
        tokens=axis_of(prepared),
        keys=table.keys(prepared),
        held=("norms", *sorted(run.frozen)),
        model_name=loaded.name,
    )


@dataclass
class _Table:
    """Collects rows of effects; parts of one MLP, embedding or bias are one row."""

    loaded: LoadedModel
    run: Trace
    gradients: list[Tensor | None]

    def __post_init__(self) -> None:
        self.heads: list[dict[str, object]] = []
        self.others: dict[Part, float] = {}
        self.sources: dict[tuple[str, int], Tensor] = {}
        self._names = PartNames(self.loaded, self.run.calls)

    def add(self, component: Component, gradient: Tensor) -> None:
        if component.origin == "attention":
            assert component.call is not None
            self._add_heads(self.run.calls[component.call], gradient)
            return
        effect = float(moved(component, gradient).sum())
        part = self._names.part(component)
        self.others[part] = self.others.get(part, 0.0) + effect

    def _add_heads(self, call: TracedCall, gradient: Tensor) -> None:
        assert call.output is not None and call.site is not None and call.weights is not None
        output = call.output.detach()[0]
        gradient = gradient[0].reshape(output.shape[0], call.heads, -1)
        output = output.reshape(gradient.shape)
        effect = (output.double() * gradient.double()).sum((0, 2))
        sources = source_effects(call, gradient)
        _check_sources(call, effect, sources, output.dtype)
        site = call.site
        for head in range(call.heads):
            self.heads.append(
                {"kind": "head", "component": self._names.head(site, head), "stack": site.stack, "attention": site.kind,
                 "layer": site.layer, "head": head, "effect": float(effect[head])}
            )  # fmt: skip
            self.sources[site.name, head] = sources[head].float().cpu()

    def frame(self) -> pd.DataFrame:
        """One row per head, then one per MLP, embedding and bias."""
        others = [
            {"kind": kind, "component": name, "stack": stack, "attention": "", "layer": layer, "head": None,
             "effect": effect}
            for (kind, name, stack, layer), effect in self.others.items()
        ]  # fmt: skip
        frame = pd.DataFrame([*self.heads, *others])
        return frame.astype({"layer": "Int64", "head": "Int64"})

    def keys(self, prepared: Prepared) -> dict[str, Tokens]:
        """The tokens on the key axis of each site."""
        axes: dict[str, Tokens] = {}
        for call in self.run.calls:
            if call.site is not None:
                axes[call.site.name] = prepared.axes(call.site.stack, call.site.kind)[1][0]
        return axes


def source_effects(call: TracedCall, gradient: Tensor) -> Tensor:
    """What a head moved from each source token, ``[head, key]``: ``Σ_q A[q, k] ⟨v_k, g_q⟩``.

    Args:
        gradient: ``[query, head, channel]`` at the call's output.
    """
    assert call.weights is not None
    values = call.value.repeat_interleave(call.heads // call.value.shape[0], dim=0).double()
    total = torch.zeros(call.heads, values.shape[1], dtype=torch.float64, device=values.device)
    for query in gradient.abs().sum((1, 2)).nonzero()[:, 0].tolist():
        row = call.weights.tile(0, slice(0, call.heads), slice(query, query + 1))[:, 0].double()
        total += row * torch.einsum("hkc,hc->hk", values, gradient[query].double())
    return total


def check_finite(loaded: LoadedModel, value: Tensor) -> None:
    """Refuse a logit that is NaN or infinite."""
    if not math.isfinite(float(value.detach())):
        raise CaptureError(
            f"The logit of {loaded.name or 'the model'} is {float(value.detach())}, so what made it "
            "cannot be told; look for NaN or infinite values in the weights and inputs."
        )


def check_sum(loaded: LoadedModel, value: float, parts: list[float], dtype: torch.dtype) -> None:
    """Refuse parts that do not sum to the value: the stream was not followed correctly."""
    scale = max(1.0, abs(value), *(abs(part) for part in parts)) if parts else 1.0
    if not abs(math.fsum(parts) - value) <= TOLERANCE.get(dtype, 1e-4) * scale:  # NaN, too
        raise CaptureError(
            f"The effects on {loaded.name or 'the model'} sum to {math.fsum(parts):.6g} instead of {value:.6g}, so "
            "they are not shown: the model does something with its stream that is neither a sum, a norm nor a gate."
        )


def _check_sources(call: TracedCall, effect: Tensor, sources: Tensor, dtype: torch.dtype) -> None:
    scale = max(1.0, float(effect.abs().max()), float(sources.abs().max()))
    apart = float((sources.sum(1) - effect).abs().max())
    if not apart <= TOLERANCE.get(dtype, 1e-4) * scale:  # NaN, too
        raise CaptureError(
            f"What the heads of {call.site} moved from their source tokens differs by {apart:.1e} from what they "
            "wrote, so it is not shown."
        )


def _check_followed(loaded: LoadedModel, run: Trace, found: list[Tensor | None], value: float) -> None:
    """Refuse a stream that was lost on the way: no path from the embeddings, or from no layer, to the logit."""
    reached = {
        component.origin
        for component, gradient in zip(run.components, found, strict=True)
        if gradient is not None and bool(gradient.any())
    }
    missing = {"embedding", "attention"} - reached
    if missing and value != 0:
        last = next((c for c, g in zip(reversed(run.components), reversed(found), strict=True) if g is not None), None)
        at = f" (last followed: {last.operation} in {last.path or 'the model itself'})" if last else ""
        raise UnsupportedModelError(
            f"The stream of {type(loaded.model).__name__} could not be followed from its "
            f"{' and '.join(sorted(missing))} to the logits{at}, so direct effects cannot be told."
        )
