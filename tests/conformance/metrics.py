"""Every metric of a captured site against its slow reference."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.weights.base import AttentionWeights
from tests import reference


def metrics_error(place: CallSite, weights: AttentionWeights, valid: Tensor | None) -> float:
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
    if (math.isnan(fast) and math.isnan(slow)) or fast == slow:
        return 0.0
    gap = abs(fast - slow) / max(1.0, abs(slow))
    return math.inf if math.isnan(gap) else gap
