"""One attention site as payload blocks, in the smaller of two forms.

``scores``: queries and keys, from which the page computes the weights itself; linear in the text. ``weights``: the
weights in one byte (or, where they are few, two bytes) each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from attention_analyzer.view import quantize
from attention_analyzer.view.payload import PayloadWriter
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.bias import RelativeBias
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

#: Typical share of their size that codes and half-precision numbers keep when deflated.
CODES_DEFLATE_TO, HALVES_DEFLATE_TO = 0.75, 0.87
#: Up to this many weights of a site are stored in two bytes, nearly exactly.
FEW_WEIGHTS = 50_000
#: Largest error a shown weight may have from half precision, by itself and of the whole.
RELATIVE, ABSOLUTE = 5e-3, 5e-4
#: Runs of rows tried per site, and the rows of each.
RUNS_TRIED, ROWS_AT_ONCE = 6, 4


def can_be_scores(weights: AttentionWeights) -> bool:
    """Whether the page can compute these weights from blocks that are linear in the text."""
    if not isinstance(weights, QueryKeyWeights):
        return False
    bias, sinks = weights.source.bias, weights.source.sinks
    if sinks is not None and sinks.dim() != 1:
        return False
    return bias is None or isinstance(bias, RelativeBias)


def scores_size(weights: AttentionWeights) -> int:
    """Expected bytes of the ``scores`` form."""
    if not isinstance(weights, QueryKeyWeights):
        return weights.heads * weights.queries * weights.keys * 8
    source = weights.source
    return int(HALVES_DEFLATE_TO * 2 * (source.query.numel() + source.key.numel()))


def weights_size(weights: AttentionWeights) -> int:
    """Expected bytes of the ``weights`` form; hidden cells deflate to nothing."""
    visible = float(weights.visibility.counts(torch.device("cpu")).float().mean()) / max(weights.keys, 1)
    return int(CODES_DEFLATE_TO * visible * weights.heads * weights.queries * weights.keys)


def weights_content(weights: AttentionWeights, writer: PayloadWriter) -> dict[str, Any]:
    """Blocks of the ``weights`` form."""
    values = np.stack([weights[head].float().cpu().numpy() for head in range(weights.heads)])
    if values.size <= FEW_WEIGHTS:
        return {"weights": {"block": writer.add(values.astype(np.float16)), "codebook": None}}
    codebook = writer.add(quantize.codebook())
    return {"weights": {"block": writer.add(quantize.encode(values)), "codebook": codebook}}


def scores_content(weights: QueryKeyWeights, writer: PayloadWriter) -> dict[str, Any]:
    """Blocks of the ``scores`` form.

    Keys are stored as differences from their mean over the text: a constant added to a row of scores leaves the softmax
    as it is, and smaller numbers lose less to half precision. A softcap or a sink would notice, so there they stay
    whole.
    """
    source = weights.source
    query, key = source.query[0].float().cpu().numpy(), source.key[0].float().cpu().numpy()
    mean = None
    if source.softcap is None and source.sinks is None:
        mean = key.mean(axis=1, dtype=np.float64).astype(np.float32)
        key = key - mean[:, None]
    if _halves_are_enough(weights, query, key):
        query, key = query.astype(np.float16), key.astype(np.float16)
    sinks = source.sinks
    bias = source.bias
    return {
        "scores": {
            "query": writer.add(query),
            "key": writer.add(key),
            "key_mean": None if mean is None else writer.add(mean),
            "scaling": float(source.scaling),
            "softcap": source.softcap,
            "sinks": None if sinks is None else writer.add(sinks.float().cpu().numpy()),
            "bias": _bias_content(bias, writer) if isinstance(bias, RelativeBias) else None,
            **visibility_content(source.visibility, writer),
        }
    }


def visibility_content(visibility: Visibility, writer: PayloadWriter) -> dict[str, Any]:
    """Which keys a query sees: the band as two numbers, whatever else as blocks (all optional)."""
    key_seen, segments, mask = visibility.key_seen, visibility.segments, visibility.mask
    return {
        "band": [visibility.lower, visibility.upper],
        "key_seen": None if key_seen is None else writer.add(key_seen[0].cpu().numpy().astype(np.uint8)),
        "segments": None
        if segments is None
        else [writer.add(part[0].cpu().numpy().astype(np.int32)) for part in segments],
        "mask": None if mask is None else writer.add(np.packbits(mask[0].cpu().numpy(), axis=-1)),
    }


def _bias_content(bias: RelativeBias, writer: PayloadWriter) -> dict[str, Any]:
    return {"diagonals": writer.add(bias.diagonals.float().cpu().numpy()), "origin": bias.origin}


def _halves_are_enough(weights: QueryKeyWeights, query: np.ndarray, key: np.ndarray) -> bool:
    """Try half precision on some rows: models with huge scores need the full numbers."""
    halves = [torch.from_numpy(part.astype(np.float16).astype(np.float32)) for part in (query, key)]
    if not all(bool(half.isfinite().all()) for half in halves):
        return False
    last = max(weights.queries - ROWS_AT_ONCE, 0)
    rows = np.unique(np.linspace(0, last, RUNS_TRIED).astype(int))
    source = weights.source
    rounded = ScoreSource(
        query=halves[0][None],
        key=halves[1][None],
        scaling=source.scaling,
        visibility=source.visibility,
        softcap=source.softcap,
        bias=source.bias,
        sinks=None if source.sinks is None else source.sinks.float(),
    )
    for row in rows:
        run = slice(int(row), min(int(row) + ROWS_AT_ONCE, weights.queries))
        exact = weights[:, run].float()
        shown = rounded.tile(0, slice(0, weights.heads), run)
        if bool(((shown - exact).abs() > torch.clamp(RELATIVE * exact, min=ABSOLUTE)).any()):
            return False
    return True
