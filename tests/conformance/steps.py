"""A text read in one piece against the same text read step by step with a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.hooks.verification import run_alone
from attention_analyzer.weights.base import AttentionWeights
from tests.conformance.finding import Disagreement
from tests.conformance.witness import TOLERANCE, Calls, hear_once, record_activations


@torch.no_grad()
def with_cache(model: nn.Module, inputs: Mapping[str, Any]) -> str:
    """Whether a prefill and single steps give the rows of the whole; "" where the model keeps no such cache."""
    if set(inputs) - {"attention_mask"} != {"input_ids"} or model.config.is_encoder_decoder:
        return ""
    ids = inputs["input_ids"]
    start = ids.shape[1] - 3
    alone = _steps_alone(model, ids, start)
    if alone is None:
        return ""
    hidden = run_alone(model, {"input_ids": ids, "use_cache": False})[0]
    if hidden[:, start:].shape != alone.shape:
        return ""  # the first output is of something else
    own_gap = float((hidden[:, start:] - alone).abs().max()) / max(1.0, float(hidden.abs().max()))
    if not own_gap < 1e-2:
        return "the model itself differs"
    whole = dict(_by_path(record_activations(model, {"input_ids": ids, "use_cache": False}, None).calls))
    past = model(input_ids=ids[:, :start], use_cache=True).past_key_values
    compared = 0
    for position in range(start, ids.shape[1]):
        step = {"input_ids": ids[:, position : position + 1], "past_key_values": past, "use_cache": True}
        for path, weights in _by_path(hear_once(model, step)):
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
