"""One attention call turned into lazy weights, and the proof that they are the model's own."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError, Option, UnsupportedModelError
from attention_analyzer.hooks.interface_hook import AttentionCall
from attention_analyzer.hooks.masks import MaskReader
from attention_analyzer.weights.additive import with_low_rows
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

#: How far a rebuilt output may be from the model's own, relative to its largest value, by dtype.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_ROWS_CHECKED = 4
#: Cells of a site whose rows are all computed when some are checked: fewer calls are worth more than fewer products.
_SMALL_SITE = 1 << 18


def score_source(call: AttentionCall, reader: MaskReader) -> ScoreSource:
    """What is needed to give the call's weights again; see :func:`read_call`."""
    return read_call(call, reader)[0]


def read_call(call: AttentionCall, reader: MaskReader) -> tuple[ScoreSource, Tensor | None]:
    """What is needed to give the call's weights again; queries and keys are the model's own tensors, detached.

    Returns:
        With it, bool ``[batch or 1, query]``: rows in which every key has a low number; None without one.

    Raises:
        UnsupportedModelError: the call has a form that cannot be represented as ``[head, query, key]``.
    """
    query, key = call.query.detach(), call.key.detach()
    if query.dim() != 4 or key.dim() != 4 or query.shape[-1] != key.shape[-1]:
        raise UnsupportedModelError(
            f"{call.name} attends with queries {tuple(query.shape)} and keys {tuple(key.shape)}; "
            "[batch, head, token, channel] with equal channels was expected."
        )
    if query.shape[1] % key.shape[1]:
        raise UnsupportedModelError(
            f"{call.name} has {query.shape[1]} query heads for {key.shape[1]} key heads, which do not divide."
        )
    if call.options.get("indices") is not None or call.options.get("block_indices") is not None:
        raise UnsupportedModelError(
            f"{call.name} chooses its keys by index under {call.backend}, where the choice is not part of the mask",
            [Option("attn_implementation", "'eager'", "load the model with {}")],
        )
    batch = max(query.shape[0], key.shape[0])
    query, key = (tensor.expand(batch, -1, -1, -1) for tensor in (query, key))
    sinks = _sinks(call)
    mask = reader.read(call, has_sinks=sinks is not None)
    source = ScoreSource(
        query=query,
        key=key,
        scaling=_scaling(call),
        visibility=mask.visibility.for_texts(batch),
        softcap=call.options.get("softcap"),
        bias=mask.bias,
        sinks=sinks,
    )
    if mask.lowest is None:
        return source, None
    return with_low_rows(source, mask.lowest, mask.added_in), (mask.lowest != 0).any(1)[..., 0]


def _scaling(call: AttentionCall) -> float:
    scaling = call.options.get("scaling")
    return float(call.query.shape[-1] ** -0.5 if scaling is None else scaling)


def _sinks(call: AttentionCall) -> Tensor | None:
    """One score a head (gpt-oss), or one a query that the model computes (Inkling)."""
    sinks = call.options.get("s_aux")
    if sinks is None:
        sinks = call.options.get("sinks", getattr(call.module, "sinks", None))
    if sinks is None:
        return None
    batch, heads, queries, _ = call.query.shape
    if sinks.numel() == heads:
        return sinks.detach().reshape(heads)
    if sinks.numel() == batch * heads * queries:
        return sinks.detach().reshape(batch, heads, queries)
    raise UnsupportedModelError(
        f"{call.name} has sinks of shape {tuple(sinks.shape)}; one score per head or per query was expected."
    )


Sample = list[tuple[int, list[int]]]


def verify(
    call: AttentionCall,
    source: ScoreSource,
    output: Tensor,
    valid: Tensor | None,
    low: Tensor | None = None,
    samples: dict[Hashable, tuple[Visibility, Sample]] | None = None,
) -> float:
    """Rebuild some rows of the module's output from weights and values, and compare.

    Args:
        samples: which rows were compared of other calls in the same forward, by their visibility.
        output: ``[batch, query, head, channel]``, what the model's own function returned.
        valid: bool ``[batch, query]``; padding queries are not compared.
        low: rows in which every key has a low number (see :func:`read_call`); some of them are always compared.

    Returns:
        The largest deviation, relative to the largest output compared.

    Raises:
        CaptureError: it exceeds the dtype's :data:`TOLERANCE`; the weights would not be the model's.
    """
    deviations, scales = [], []
    for text, rows in _sample(source, valid, low) if low is not None else _known_sample(source, valid, samples):
        weights = _rows_of(source, text, rows)
        values = call.value[min(text, call.value.shape[0] - 1)].detach().to(weights.dtype)
        group = source.heads // values.shape[0]
        grouped = weights.reshape(values.shape[0], group * len(rows), -1)
        rebuilt = (grouped @ values).view(source.heads, len(rows), -1).transpose(0, 1)
        actual = output[text, rows].detach().to(weights.dtype).reshape(len(rows), source.heads, -1)
        deviations.append((rebuilt - actual).abs().max())
        scales.append(actual.abs().max())
    deviation, scale = 0.0, 0.0
    if deviations:
        # One transfer; NaN in the model is reported where weights are reduced, with its place.
        for apart, size in zip(*torch.stack([*deviations, *scales]).view(2, -1).tolist(), strict=True):
            if math.isfinite(size):
                deviation, scale = max(deviation, apart), max(scale, size)
    relative = deviation / scale if scale > 0 else deviation
    if relative > TOLERANCE.get(output.dtype, 1e-4):
        raise CaptureError(
            f"The attention of {call.name} under {call.backend} could not be reproduced: its output differs by "
            f"{relative:.1e} (relative) from what weights and values give, so no weights are shown",
            [Option("attn_implementation", "'eager'", "load the model with {}"), "report its architecture"],
        )
    return relative


def _rows_of(source: ScoreSource, text: int, rows: list[int]) -> Tensor:
    """Finished weights of some rows of one text, ``[head, row, key]``; of a small site all are computed at once."""
    every_head = slice(0, source.heads)
    if source.heads * source.queries * source.keys <= _SMALL_SITE:
        return source.tile(text, every_head, slice(0, source.queries))[:, rows]
    return torch.stack([source.tile(text, every_head, slice(row, row + 1))[:, 0] for row in rows], 1)


def _known_sample(
    source: ScoreSource, valid: Tensor | None, samples: dict[Hashable, tuple[Visibility, Sample]] | None
) -> Sample:
    """What layers share is looked at once: their visibility, which is held so that its identity stays its own."""
    key = source.visibility.identity, source.batch, source.device
    if samples is None or key not in samples:
        chosen = source.visibility, _sample(source, valid, None)
        if samples is None:
            return chosen[1]
        samples[key] = chosen
    return samples[key][1]


def _sample(source: ScoreSource, valid: Tensor | None, low: Tensor | None) -> Sample:
    """A few rows of the first and the last text, spread over the text and never padding.

    Rows that see no key are compared by themselves, because a model may fill them with anything; and so are low ones.
    """
    counts = source.visibility.counts(source.device).amin(1).expand(source.batch, -1)
    kinds = [counts > 0]
    if bool((~kinds[0]).any()):
        kinds.append(~kinds[0])
    if low is not None:
        kinds.append(low.to(source.device).expand_as(counts))
    if valid is not None and valid.shape == counts.shape:
        kinds = [kind & valid.to(kind.device) for kind in kinds]
    chosen = []
    for text in dict.fromkeys((0, source.batch - 1)):
        rows = sorted({row for kind in kinds for row in _spread(kind[text])})
        if rows:
            chosen.append((text, rows))
    return chosen


def _spread(flags: Tensor) -> list[int]:
    rows = [row for row, flag in enumerate(flags.tolist()) if flag]
    count = min(_ROWS_CHECKED, len(rows))
    return [rows[(len(rows) - 1) * step // max(count - 1, 1)] for step in range(count)]


def chunk_of(source: ScoreSource) -> tuple[Any, ...] | None:
    """What chunks of one attention have in common; None for a call that is no chunk.

    All tokens of a chunk see each other, within segments.
    """
    if source.bias is not None or not replace(source.visibility, segments=None).is_everything:
        return None
    return source.batch, source.heads, source.key.shape[1], source.scaling, source.softcap


def merge_chunks(sources: list[ScoreSource]) -> ScoreSource:
    """Chunks that a module attended to in several calls, as one call ``[batch, head, ..]`` in which they do not mix.

    (Qwen2.5-VL's vision tower calls once for each image or window.)
    """
    first = sources[0]
    query = torch.cat([s.query for s in sources], dim=2)
    key = torch.cat([s.key for s in sources], dim=2)
    visibility = Visibility(query.shape[2], key.shape[2], segments=_segments_in_a_row(sources))
    sinks = first.sinks
    if sinks is not None and sinks.dim() == 3:  # one a query
        sinks = torch.cat([s.sinks for s in sources if s.sinks is not None], dim=2)
    return ScoreSource(query, key, first.scaling, visibility, softcap=first.softcap, sinks=sinks)


def _segments_in_a_row(sources: list[ScoreSource]) -> tuple[Tensor, Tensor]:
    """Segment numbers ``[batch, query]`` and ``[batch, key]`` of all chunks, none of which is used by two."""
    of_queries, of_keys, used = [], [], 0
    for source in sources:
        device, seen = source.device, source.visibility
        numbers = seen.segments or tuple(
            torch.zeros(1, size, dtype=torch.long, device=device) for size in (seen.queries, seen.keys)
        )
        of_query, of_key = (number.to(device).expand(source.batch, -1) + used for number in numbers)
        used = 1 + max(int(of_query.max()), int(of_key.max()))
        of_queries.append(of_query)
        of_keys.append(of_key)
    return torch.cat(of_queries, dim=1), torch.cat(of_keys, dim=1)
