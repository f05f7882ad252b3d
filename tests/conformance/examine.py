"""The examination of one type: every claim the toolkit makes about attention, held against an independent witness."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attention_analyzer.errors import AttentionAnalyzerError, TooLongError, UnsupportedModelError
from attention_analyzer.hooks.verification import VerificationReport, row_error, run_alone, same_bits, verify_model
from tests.conformance.build import Built, CannotBuildError, NoModelError, NotHereError, build, told
from tests.conformance.finding import Disagreement, Finding
from tests.conformance.metrics import metrics_error
from tests.conformance.steps import with_cache
from tests.conformance.witness import (
    TOLERANCE,
    CallActivations,
    alike,
    compare,
    finite,
    handed_over,
    overheard,
    record_activations,
)

BACKENDS = ("eager", "sdpa", "flex_attention")
#: Between backends, whose own rounding every layer hands on to the next (each is proven by its own outputs, too).
TOLERANCE_ACROSS = 1e-3
METRIC_TOLERANCE = 1e-4


def examine(model_type: str) -> Finding:
    """Examine a type; whatever happens becomes part of the finding."""
    finding = Finding(model_type, transformers=transformers.__version__)
    start = time.perf_counter()
    try:
        built = build(model_type)
        finding.model, finding.step = type(built.model).__name__, built.step
        # Flex attention is compiled anew for every type, which takes half a minute; as written it does the same.
        # And where there is no eager attention, torch's own is to show the witness its softmax.
        plain = sdpa_kernel(SDPBackend.MATH) if built.backend == "sdpa" else nullcontext()
        with torch.compiler.set_stance("force_eager"), plain:
            _examine(built, finding)
    except NoModelError as error:
        finding.state, finding.reason = "part", str(error)
    except (NotHereError, ImportError) as error:
        finding.state, finding.reason = "not here", " ".join(str(error).split())
    except CannotBuildError as error:
        finding.state, finding.reason = "not built", str(error)
    except (UnsupportedModelError, TooLongError) as error:
        nothing = "without any attention" in str(error) or "there are no attention weights" in str(error)
        finding.state = "no attention" if nothing else "refused"
        finding.reason = str(error)
    except (AttentionAnalyzerError, Disagreement) as error:
        finding.reason = f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 (the sweep goes on)
        finding.reason = told(error)
    finding.seconds = round(time.perf_counter() - start, 1)
    return finding


def _examine(built: Built, finding: Finding) -> None:
    model, inputs, plain = built.model, built.inputs, built.backend
    _switch(model, plain, plain)  # parts that the model makes for itself (RAG's generator), too
    exact = True
    paddings = _paddings(model, inputs)
    for padding, padded, valid in paddings:
        witness = overheard(model, padded, valid)
        alone = run_alone(model, padded)
        for backend in BACKENDS[BACKENDS.index(plain) :]:
            if backend == "flex_attention" and padding != paddings[-1][0]:
                continue  # it is slow, and reads every mask by the same function
            if not _switch(model, backend, plain):
                continue
            try:
                found, heard = _under(model, padded, valid, alone, again=backend != plain)
                if padding == "none":
                    _note(verify_model(model, padded), finding)
                finding.deviation = max(finding.deviation, heard.deviation)
                exact = exact and heard.exact
                if found == "agrees":
                    tolerance = TOLERANCE if backend == plain else TOLERANCE_ACROSS
                    if len(witness) < len(heard.calls):
                        witness = overheard(model, padded, valid, joined=False)
                    error = compare(heard.calls, witness, valid, tolerance)
                    finding.weights_error = max(finding.weights_error, error)
                _metrics(heard, valid, finding)
            except _DoesNotRun:
                found = "does not run here"
            except (UnsupportedModelError, TooLongError):
                raise  # with the reason that a user would see
            except (AttentionAnalyzerError, Disagreement) as error:
                raise type(error)(f"{backend}, padding {padding}: {error}") from error
            finally:
                _switch(model, plain, plain)
            if finding.backends.get(backend, "agrees") == "agrees":
                finding.backends[backend] = found
        finding.paddings.append(padding)
    finding.cache = with_cache(model, inputs)
    finding.handed = handed_over(model, inputs)
    finding.state = "exact" if exact else "weights only"


class _DoesNotRun(Exception):
    """The model itself fails under a backend."""


def _under(
    model: nn.Module, inputs: Mapping[str, Any], valid: Tensor | None, plain: Any, again: bool
) -> tuple[str, CallActivations]:
    """Listen under a backend, and say whether eager weights can be a witness of what was heard.

    Args:
        plain: the outputs under eager attention.
        again: whether this is another backend.
    """
    try:
        alone = run_alone(model, inputs) if again else plain
    except Exception as error:  # not ours: nobody listens
        raise _DoesNotRun from error
    heard = record_activations(model, inputs, valid)
    if not same_bits(alone, heard.outputs):
        raise Disagreement("the outputs differ with and without listening")
    if not finite(plain):
        return "the model itself computes NaN", heard
    return ("agrees" if alike(plain, alone, valid) else "the model itself differs from eager"), heard


def _metrics(heard: CallActivations, valid: Tensor | None, finding: Finding) -> None:
    """Row sums, and every metric against its slow reference."""
    if not finite(heard.outputs):
        return
    for place, weights in heard.calls:
        if row_error(weights, valid) > TOLERANCE:
            raise Disagreement(f"rows of {place.path} sum to one only within {row_error(weights, valid):.1e}")
        error = metrics_error(place, weights, valid)
        finding.metrics_error = max(finding.metrics_error, error)
        if error > METRIC_TOLERANCE:
            raise Disagreement(f"a metric of {place.path} differs by {error:.1e} from its reference")


def _note(proof: VerificationReport, finding: Finding) -> None:
    if not proof.identical:
        raise Disagreement("the outputs differ with and without listening")
    if not proof.untouched:
        raise Disagreement("listening left something on the model")
    if proof.row_error > TOLERANCE:
        raise Disagreement(f"rows sum to one only within {proof.row_error:.1e}")
    finding.deviation = max(finding.deviation, proof.deviation)
    finding.forms = sorted({*finding.forms, *proof.forms})
    finding.not_captured = list(proof.not_captured)
    names = [site.name for site in proof.sites]
    if len(set(names)) != len(names):
        raise Disagreement("two sites have one name")
    finding.sites = names


def _paddings(model: nn.Module, inputs: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Tensor | None]]:
    """The inputs as they are, and with the second text padded on either side where the model takes a mask."""
    found: list[tuple[str, Mapping[str, Any], Tensor | None]] = [("none", inputs, None)]
    mask = inputs.get("attention_mask")
    ids = inputs.get("input_ids")
    if (
        isinstance(mask, Tensor)
        and isinstance(ids, Tensor)
        and mask.shape == ids.shape
        and len(ids) > 1
        and len(inputs) <= 4
    ):
        for side, hidden in (("right", slice(-5, None)), ("left", slice(0, 5))):
            padded = mask.clone()
            padded[1, hidden] = 0
            changed = {**inputs, "attention_mask": padded}
            try:
                run_alone(model, changed)
            except Exception:  # noqa: BLE001 (a few models only take full masks)
                continue
            found.append((side, changed, padded.bool()))
    return found


def _switch(model: nn.Module, backend: str, plain: str) -> bool:
    """Switch the whole model; False if it does not take the backend."""
    try:
        model.set_attn_implementation(backend)
    except (ValueError, ImportError, NotImplementedError):
        model.set_attn_implementation(plain)
        return backend == plain
    names = {getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules()}
    return backend in names or backend == plain
