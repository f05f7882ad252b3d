"""Captured weights against independent witnesses: what the model computes under eager attention, and hands over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.hooks.dispatch_hook import intercept
from attention_analyzer.hooks.forward import batch_of
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.parts import Origin
from attention_analyzer.hooks.session import Capture, capturing
from attention_analyzer.hooks.verification import rows_of, run_alone, some_rows, tensors
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from tests.conformance.finding import Disagreement

TOLERANCE = 1e-5

Calls = list[tuple[CallSite, AttentionWeights]]


@dataclass(frozen=True)
class CallActivations:
    """One forward through the toolkit: its calls in order, the model's outputs, and how the calls were proven."""

    calls: Calls
    outputs: Any
    deviation: float
    exact: bool


def record_activations(model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None) -> CallActivations:
    """Listen to one forward as the toolkit does."""
    capture = _pairs(model, inputs, valid)
    with capturing(capture):
        outputs = run_alone(model, inputs)
    return CallActivations(_results(capture), outputs, capture.deviation, capture.exact)


def hear_once(model: nn.Module, inputs: Mapping[str, Any]) -> Calls:
    """As :func:`record_activations`, for inputs that one forward uses up (a cache)."""
    capture = _pairs(model, inputs, None)
    with capturing(capture), torch.no_grad():
        model(**inputs)
    return _results(capture)


class _CallByCall(Capture[Any]):
    """A capture that puts no parts of one attention together."""

    def on_weights(self, module: nn.Module, name: str, weights: Tensor, origin: Origin | None) -> None:
        super().on_weights(module, name, weights, None)


def overheard(model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None, *, joined: bool = True) -> Calls:
    """The witness: under eager attention, whatever softmax result multiplied values, in the interface or outside.

    ``joined`` puts parts of one attention together, as is done outside of the interface; inside of it calls that a
    module makes for segments of a text stay apart.
    """
    capture = _pairs(model, inputs, valid, Capture if joined else _CallByCall)
    with intercept(model, capture):
        run_alone(model, inputs)
    return _results(capture)


def _pairs(
    model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None, kind: type[Capture[Any]] = Capture
) -> Capture[Any]:
    return kind(model, keep=lambda place, weights: (place, weights), valid=valid, batch=batch_of(inputs))


def _results(capture: Capture[Any]) -> Calls:
    return [capture.result(number) for number in range(capture.calls)]


def compare(calls: Calls, witness: Calls, valid: Tensor | None, tolerance: float) -> float:
    """The largest difference between captured weights and the witness's.

    Raises:
        Disagreement: it exceeds the tolerance, or a call is missing, too many or elsewhere.
    """
    worst = 0.0
    if len(calls) != len(witness):
        raise Disagreement(f"{len(calls)} calls were captured, {len(witness)} seen by the witness")
    for (place, weights), (seen_place, seen) in zip(calls, witness, strict=True):
        if place.path != seen_place.path and not seen_place.path.startswith(place.path):
            raise Disagreement(f"{place.path} was captured where the witness saw {seen_place.path}")
        error = _difference(weights, seen, valid)
        worst = max(worst, error)
        if error > tolerance:
            raise Disagreement(f"the weights of {place.path} differ by {error:.1e} from the eager ones")
    return worst


def _difference(mine: AttentionWeights, seen: AttentionWeights, valid: Tensor | None) -> float:
    if mine.shape != seen.shape or mine.batch != seen.batch:
        raise Disagreement(f"shapes differ: {mine.batch} × {mine.shape} and {seen.batch} × {seen.shape}")
    worst = 0.0
    for text in range(mine.batch):
        rows = some_rows(_counting(mine, text, valid), mine)
        if not rows:
            continue
        left, right = rows_of(mine, text, rows), rows_of(seen, text, rows)
        gap = (left - _with_sink(mine, left, right)).abs().max()
        worst = max(worst, float(gap)) if bool(torch.isfinite(gap)) else math.inf
    return worst


def _with_sink(weights: AttentionWeights, mine: Tensor, theirs: Tensor) -> Tensor:
    """The witness's rows; cut to ours where the sink's share was taken from the output, not the weights (Granite)."""
    if not isinstance(weights, QueryKeyWeights) or weights.source.sinks is None:
        return theirs
    return theirs * mine.sum(-1, keepdim=True) if bool(theirs.sum(-1).min() > 1 - 1e-4) else theirs


def _counting(weights: AttentionWeights, text: int, valid: Tensor | None) -> Tensor:
    counts = weights.visibility.counts(weights.empty().device).amin(1).expand(weights.batch, -1)
    good = counts[text] > 0
    if valid is not None and valid.shape == (weights.batch, weights.queries):
        return good & valid[text]
    if valid is not None and valid.shape[0] == weights.batch and not bool(valid[text].all()):
        return torch.zeros_like(good)  # pooled tokens (BLT's patches): which of them hold padding is not known
    return good


def handed_over(model: nn.Module, inputs: Mapping[str, Any]) -> int:
    """Compare with what the model hands over when asked: a witness that has nothing to do with the toolkit.

    Returns:
        How many arrays were handed over; each is the weights of a captured site.
    """
    try:
        output = run_alone(model, dict(inputs) | {"output_attentions": True})
    except Exception:  # noqa: BLE001 (not every model can be asked)
        return 0
    arrays = [array for name, values in _named(output) if "attention" in str(name) for array in tensors(values)]
    arrays = [array for array in arrays if array.dim() == 4 and array.is_floating_point()]
    captured = [weights for _, weights in record_activations(model, inputs, None).calls]
    shapes = {(weights.batch, *weights.shape) for weights in captured}
    # SqueezeBERT hands over scores, which are no weights.
    arrays = [array for array in arrays if tuple(array.shape) in shapes and bool((array >= 0).all())]
    for array in arrays:
        if not any(_same_weights(weights, array) for weights in captured):
            raise Disagreement(f"weights {tuple(array.shape)} that the model hands over are none of those captured")
    return len(arrays)


def _named(output: Any) -> Iterator[tuple[str, Any]]:
    """Fields of an output and of outputs within it."""
    if isinstance(output, Mapping):
        for name, value in output.items():
            yield name, value
            yield from _named(value)


def _same_weights(weights: AttentionWeights, array: Tensor) -> bool:
    if (weights.batch, *weights.shape) != tuple(array.shape):
        return False
    for text in range(weights.batch):
        good = weights.visibility.counts(array.device).amin(1).expand(weights.batch, -1)[text] > 0
        mine = weights.tile(text, slice(0, weights.heads), slice(0, weights.queries))
        theirs = _with_sink(weights, mine, array[text])
        mean = mine.mean(0, keepdim=True)  # WavLM hands over the mean of its heads
        gaps = [float((each - theirs)[:, good].abs().max()) for each in (mine, mean)] if bool(good.any()) else [0.0]
        if min(gaps) > TOLERANCE:
            return False
    return True


def alike(left: Any, right: Any, valid: Tensor | None) -> bool:
    """Whether a model gives the same under two backends; where it does not, eager weights are no witness.

    (Some models mask nothing under eager where another backend is causal by itself.)
    """
    for mine, other in zip(tensors(left), tensors(right), strict=False):
        if not mine.is_floating_point() or mine.shape != other.shape:
            continue
        if not torch.equal(mine.isnan(), other.isnan()):
            return False
        gap = (mine - other).abs().nan_to_num(0, 0, 0)
        if valid is not None and gap.shape[:2] == valid.shape:
            gap = gap[valid]
        if gap.numel() and float(gap.max()) > 1e-3 * max(1.0, float(mine.nan_to_num(0, 0, 0).abs().max())):
            return False
    return True


def finite(output: Any) -> bool:
    """Whether an output holds no NaN."""
    return not any(bool(tensor.isnan().any()) for tensor in tensors(output) if tensor.is_floating_point())
