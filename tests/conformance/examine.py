"""The examination of one type: every claim the toolkit makes about attention, held against an independent witness."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attention_analyzer.capture.naming import CallPlace
from attention_analyzer.capture.overhear import overhearing
from attention_analyzer.capture.proof import Proof, prove, run_alone, some_rows, tensors
from attention_analyzer.capture.session import Capture, listening
from attention_analyzer.errors import AttentionAnalyzerError, UnsupportedModelError
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.table import evaluate, needs_of
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from tests import reference
from tests.conformance.build import CannotBuildError, NoModelError, NotHereError, build

TOLERANCE = 1e-5
#: Between backends, whose own rounding every layer hands on to the next (each is proven by its own outputs, too).
TOLERANCE_ACROSS = 1e-3
BACKENDS = ("eager", "sdpa", "flex_attention")
#: Flex attention is compiled anew for every type, which takes half a minute: these stand for all forms it has.
WITH_FLEX = ("bert", "llama", "mistral", "gemma2", "bart", "vit")

Calls = list[tuple[CallPlace, AttentionWeights]]


@dataclass
class Finding:
    """What the examination of one type found; ``state`` is how the type stands in the coverage table.

    States: "exact", "weights only", "refused", "no attention", "part" (of another type's model), "not here" (needs a
    package that is not installed), and, for what must be repaired before a release, "failed" and "not built".
    """

    type: str
    state: str = "failed"
    model: str = ""
    reason: str = ""
    step: int = 0
    backends: dict[str, str] = field(default_factory=dict)
    sites: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    paddings: list[str] = field(default_factory=list)
    cache: str = ""
    deviation: float = 0.0
    weights_error: float = 0.0
    metrics_error: float = 0.0
    unheard: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Disagreement(Exception):
    """The toolkit and the witness disagree."""


def examine(model_type: str) -> Finding:
    """Examine a type; whatever happens becomes part of the finding."""
    finding = Finding(model_type)
    start = time.perf_counter()
    try:
        built = build(model_type)
        finding.model, finding.step = type(built.model).__name__, built.step
        _examine(built.model, built.inputs, finding)
    except NoModelError as error:
        finding.state, finding.reason = "part", str(error)
    except NotHereError as error:
        finding.state, finding.reason = "not here", str(error)
    except CannotBuildError as error:
        finding.state, finding.reason = "not built", str(error)
    except UnsupportedModelError as error:
        finding.state = "no attention" if "without any attention" in str(error) else "refused"
        finding.reason = str(error)
    except (AttentionAnalyzerError, Disagreement) as error:
        finding.reason = f"{type(error).__name__}: {error}"
    except Exception as error:  # the sweep goes on
        finding.reason = f"{type(error).__name__}: {str(error)[:200]} | {traceback.format_exc(limit=-2)[-300:]}"
    finding.seconds = round(time.perf_counter() - start, 1)
    return finding


def _examine(model: nn.Module, inputs: dict[str, Any], finding: Finding) -> None:
    proof = prove(model, inputs)
    _note(proof, finding)
    for padding, padded, valid in _paddings(model, inputs):
        witness = overheard(model, padded, valid)
        eager = run_alone(model, padded)
        for backend in BACKENDS:
            if backend == "flex_attention" and finding.type not in WITH_FLEX:
                continue
            if not _switch(model, backend):
                continue
            try:
                if not finite(eager):
                    finding.backends["eager"] = "the model itself computes NaN"
                    if backend == "eager":
                        continue
                if backend == "eager" or alike(eager, run_alone(model, padded), valid):
                    _compare(
                        model, padded, valid, witness, finding, TOLERANCE if backend == "eager" else TOLERANCE_ACROSS
                    )
                    finding.backends[backend] = "agrees"
                else:
                    finding.backends[backend] = "the model itself differs from eager"
                proof = prove(model, padded, valid=valid)
                _note(proof, finding)
            except Exception as error:
                if backend == "flex_attention" and not isinstance(error, (AttentionAnalyzerError, Disagreement)):
                    finding.backends[backend] = "does not run here"
                    continue
                raise type(error)(f"{backend}, padding {padding}: {error}") from error
            finally:
                _switch(model, "eager")
        finding.paddings.append(padding)
    finding.cache = _with_cache(model, inputs)
    finding.state = "exact" if proof.exact else "weights only"


def _note(proof: Proof, finding: Finding) -> None:
    if not proof.identical:
        raise Disagreement("the outputs differ with and without listening")
    if not proof.untouched:
        raise Disagreement("listening left something on the model")
    if proof.row_error > TOLERANCE:
        raise Disagreement(f"rows sum to one only within {proof.row_error:.1e}")
    finding.deviation = max(finding.deviation, proof.deviation)
    finding.forms = sorted({*finding.forms, *proof.forms})
    finding.unheard = list(proof.unheard)
    names = [site.name for site in proof.sites]
    if len(set(names)) != len(names):
        raise Disagreement("two sites have one name")
    finding.sites = names


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
        if gap.numel() and float(gap.max()) > 1e-2 * max(1.0, float(mine.nan_to_num(0, 0, 0).abs().max())):
            return False
    return True


def finite(output: Any) -> bool:
    """Whether an output holds no NaN."""
    return not any(bool(tensor.isnan().any()) for tensor in tensors(output) if tensor.is_floating_point())


def captured_calls(model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None) -> Calls:
    """All calls of one forward through the toolkit, in order."""
    capture: Capture[tuple[CallPlace, AttentionWeights]] = _pairs(model, inputs, valid)
    with listening(capture):
        run_alone(model, inputs)
    return _results(capture)


def overheard(model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None) -> Calls:
    """The witness: under eager attention, whatever softmax result multiplied values, in the interface or outside."""
    capture = _pairs(model, inputs, valid)
    with overhearing(model, capture):
        run_alone(model, inputs)
    return _results(capture)


def _pairs(model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None) -> Capture[Any]:
    from attention_analyzer.capture.forward import batch_of

    return Capture(model, keep=lambda place, weights: (place, weights), valid=valid, batch=batch_of(inputs))


def _results(capture: Capture[Any]) -> Calls:
    return [pair for _, pairs in capture.captured() for pair in pairs]


def _compare(
    model: nn.Module,
    inputs: Mapping[str, Any],
    valid: Tensor | None,
    witness: Calls,
    finding: Finding,
    tolerance: float,
) -> None:
    calls = captured_calls(model, inputs, valid)
    if len(calls) != len(witness):
        raise Disagreement(f"{len(calls)} calls were captured, {len(witness)} seen by the witness")
    for (place, weights), (seen_place, seen) in zip(calls, witness, strict=True):
        if place.path != seen_place.path and not seen_place.path.startswith(place.path):
            raise Disagreement(f"{place.path} was captured where the witness saw {seen_place.path}")
        error = _difference(weights, seen, valid)
        finding.weights_error = max(finding.weights_error, error)
        if error > tolerance:
            raise Disagreement(f"the weights of {place.path} differ by {error:.1e} from the eager ones")
        error = metrics_error(place, weights, valid)
        finding.metrics_error = max(finding.metrics_error, error)
        if error > 1e-4:
            raise Disagreement(f"a metric of {place.path} differs by {error:.1e} from its reference")


def _difference(mine: AttentionWeights, seen: AttentionWeights, valid: Tensor | None) -> float:
    if mine.shape != seen.shape or mine.batch != seen.batch:
        raise Disagreement(f"shapes differ: {mine.batch} × {mine.shape} and {seen.batch} × {seen.shape}")
    worst = 0.0
    for text in range(mine.batch):
        rows = some_rows(_counting(mine, text, valid), mine)
        if not rows:
            continue
        left, right = (
            torch.cat([w.tile(text, slice(0, w.heads), slice(row, row + 1)) for row in rows], dim=1)
            for w in (mine, seen)
        )
        if isinstance(mine, QueryKeyWeights) and mine.source.sinks is not None and bool(right.sum(-1).min() > 1 - 1e-4):
            # The sink's share was taken from the output instead of the weights (Granite).
            right = right * left.sum(-1, keepdim=True)
        gap = (left - right).abs().max()
        worst = max(worst, float(gap)) if bool(torch.isfinite(gap)) else math.inf
    return worst


def _counting(weights: AttentionWeights, text: int, valid: Tensor | None) -> Tensor:
    counts = weights.visibility.counts(weights.empty().device).amin(1).expand(weights.batch, -1)
    good = counts[text] > 0
    if valid is not None and valid.shape == (weights.batch, weights.queries):
        good = good & valid[text]
    return good


def metrics_error(place: CallPlace, weights: AttentionWeights, valid: Tensor | None) -> float:
    """Largest difference between a metric and its slow reference, over a few heads of every text."""
    if weights.queries * weights.keys > 10_000:
        return 0.0  # loops over more cells would take longer than they tell
    rng = np.random.default_rng(4)
    # Fewer keys than queries are pooled ones (PVT, CvT): they are other tokens, as in cross-attention.
    diagonal = None if place.kind == "cross" or weights.keys < weights.queries else weights.keys - weights.queries
    groups = {name: rng.random(weights.keys) < 0.3 for name in ("first", "special", "separator", "punctuation")}
    padded = valid is not None and valid.shape == (weights.batch, weights.queries) == (weights.batch, weights.keys)
    real = valid if padded else None
    statistics = weights.reduce(
        needs_of(METRICS),
        diagonal=diagonal,
        groups={name: torch.tensor(flags)[None] for name, flags in groups.items()},
        valid=real,
        key_valid=real,
    )
    values = evaluate(statistics, METRICS)
    cells = weights.visibility.seen(
        slice(0, weights.queries), slice(0, weights.keys), slice(None), weights.empty().device
    )
    shape = (weights.batch, weights.heads, weights.queries, weights.keys)
    sees = torch.ones(shape, dtype=torch.bool) if cells is None else cells.expand(shape)
    worst = 0.0
    for text in range(weights.batch):
        for head in {0, weights.heads - 1}:
            slow = reference.metrics(
                reference.Head(
                    weights=weights.tile(text, slice(head, head + 1), slice(0, weights.queries))[0].double().numpy(),
                    sees=sees[text, head].numpy(),
                    counts=np.ones(weights.queries, bool) if real is None else real[text].numpy(),
                    real=np.ones(weights.keys, bool) if real is None else real[text].numpy(),
                    diagonal=diagonal,
                    groups=groups,
                )
            )
            for name, value in values.items():
                worst = max(worst, _gap(float(value[text, head]), slow[name]))
    return worst


def _gap(fast: float, slow: float) -> float:
    if math.isnan(fast) and math.isnan(slow) or fast == slow:
        return 0.0
    gap = abs(fast - slow) / max(1.0, abs(slow))
    return math.inf if math.isnan(gap) else gap


def _paddings(model: nn.Module, inputs: dict[str, Any]) -> list[tuple[str, dict[str, Any], Tensor | None]]:
    """The inputs as they are, and with the second text padded on either side where the model takes a mask."""
    found: list[tuple[str, dict[str, Any], Tensor | None]] = [("none", inputs, None)]
    mask = inputs.get("attention_mask")
    ids = inputs.get("input_ids")
    if isinstance(mask, Tensor) and isinstance(ids, Tensor) and mask.shape == ids.shape and len(inputs) <= 4:
        for side, hidden in (("right", slice(-5, None)), ("left", slice(0, 5))):
            padded = mask.clone()
            padded[1, hidden] = 0
            changed = inputs | {"attention_mask": padded}
            try:
                run_alone(model, changed)
            except Exception:  # a few models only take full masks
                continue
            found.append((side, changed, padded.bool()))
    return found


def _switch(model: nn.Module, backend: str) -> bool:
    """Switch the whole model; False if it does not take the backend."""
    try:
        model.set_attn_implementation(backend)
    except (ValueError, ImportError, NotImplementedError):
        model.set_attn_implementation("eager")
        return backend == "eager"
    names = {getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules()}
    return backend in names or backend == "eager"


@torch.no_grad()
def _with_cache(model: nn.Module, inputs: dict[str, Any]) -> str:
    """Whether a prefill and single steps give the rows of the whole; "" where the model keeps no such cache."""
    if set(inputs) - {"attention_mask"} != {"input_ids"} or model.config.is_encoder_decoder:
        return ""
    ids = inputs["input_ids"]
    start = ids.shape[1] - 3
    alone = _steps_alone(model, ids, start)
    if alone is None:
        return ""
    hidden = run_alone(model, {"input_ids": ids, "use_cache": False})[0]
    own_gap = float((hidden[:, start:] - alone).abs().max()) / max(1.0, float(hidden.abs().max()))
    if not own_gap < 1e-2:
        return "the model itself differs"
    whole = dict(_by_path(captured_calls(model, {"input_ids": ids, "use_cache": False}, None)))
    past = model(input_ids=ids[:, :start], use_cache=True).past_key_values
    compared = 0
    for position in range(start, ids.shape[1]):
        step = {"input_ids": ids[:, position : position + 1], "past_key_values": past, "use_cache": True}
        for path, weights in _by_path(captured_calls_once(model, step)):
            if whole[path].keys == whole[path].queries:  # other axes hold more than the text
                _same_row(path, weights, whole[path], position, max(TOLERANCE, 10 * own_gap))
                compared += 1
    return "agrees" if compared else ""


def _steps_alone(model: nn.Module, ids: Tensor, start: int) -> Tensor | None:
    """Hidden states of single steps after a prefill, without anybody listening; None where the model cannot do that."""
    try:
        past = model(input_ids=ids[:, :start], use_cache=True).past_key_values
        if past is None or not hasattr(past, "get_seq_length"):
            return None
        steps = [
            model(input_ids=ids[:, position : position + 1], past_key_values=past, use_cache=True)[0]
            for position in range(start, ids.shape[1])
        ]
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError):
        return None
    return torch.cat(steps, dim=1)


def captured_calls_once(model: nn.Module, inputs: Mapping[str, Any]) -> Calls:
    """As :func:`captured_calls`, for inputs that one forward uses up (a cache)."""
    capture = _pairs(model, inputs, None)
    with listening(capture), torch.no_grad():
        model(**inputs)
    return _results(capture)


def _by_path(calls: Calls) -> list[tuple[str, AttentionWeights]]:
    numbers: dict[str, int] = {}
    named = []
    for place, weights in calls:
        numbers[place.path] = numbers.get(place.path, -1) + 1
        named.append((f"{place.path}#{numbers[place.path]}", weights))
    return named


def _same_row(path: str, step: AttentionWeights, whole: AttentionWeights, position: int, tolerance: float) -> None:
    """The step's only row against a row of the whole, aligned at the newest key; older keys may be gone."""
    for text in range(step.batch):
        row = step.tile(text, slice(0, step.heads), slice(0, 1))[:, 0]
        expected = whole.tile(text, slice(0, whole.heads), slice(position, position + 1))[:, 0, : position + 1]
        common = min(row.shape[-1], expected.shape[-1])
        gap = float((row[:, -common:] - expected[:, -common:]).abs().max())
        lost = float(expected[:, : expected.shape[-1] - common].sum()) if expected.shape[-1] > common else 0.0
        if gap > tolerance or lost > tolerance:
            raise Disagreement(f"with a cache, {path} differs by {max(gap, lost):.1e} at position {position}")
