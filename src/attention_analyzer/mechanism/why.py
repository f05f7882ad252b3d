"""Why a head looked at a key: its attention score, split into what earlier components wrote on both sides.

A score is ``scale · q · k`` before a soft cap and a position bias. With norms held (those before the projections, and
those of queries and keys), q is a sum over the components of the stream at the query's position and k one over those at
the key's, each projected and, with rotary positions, rotated. So the score is a table [query component × key component]
whose cells sum to it (Elhage et al. 2021, QK circuit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import CaptureError, InputError, SelectionError, UnsupportedModelError
from attention_analyzer.inputs import Prepared, prepare
from attention_analyzer.interventions.what_if import inputs_of_record
from attention_analyzer.mechanism.effects import TOLERANCE, source_effects
from attention_analyzer.mechanism.linear_path import moved
from attention_analyzer.mechanism.naming import PartNames
from attention_analyzer.mechanism.trace import Trace, TracedCall, call_of, gradients, trace
from attention_analyzer.mechanism.why_result import Why
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.site import Kind, from_end
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.weights.lazy import QueryKeyWeights

#: Channels of a query or key whose gradients are held at once.
_AT_ONCE = 8


def why(
    loaded: LoadedModel,
    text: str | Pair,
    layer: int,
    head: int,
    query: int,
    key: int,
    *,
    stack: str | None = None,
    kind: Kind = "self",
    truncate: bool = False,
) -> Why:
    """Which components made a head look from one token at another.

    Args:
        text: a text or a pair.
        layer, head: which head, counted from zero.
        query, key: positions of the two tokens; negative ones count from the end.
        stack, kind: of the head's attention where layers are not unique.
        truncate: cut what the model has no positions for, instead of refusing it.

    Raises:
        SelectionError: there is no such head or position, or the query may not attend to the key.
        UnsupportedModelError: the head computes its attention outside of the library's interface.
        CaptureError: the cells do not sum to the score.
    """
    prepared = prepare(loaded, [text], truncate=truncate)
    return _split(loaded, prepared, _Cell(layer, head, query, key, stack, kind))


def why_of_record(
    record: CapturedAttention,
    loaded: LoadedModel | None,
    layer: int,
    head: int,
    query: int,
    key: int,
    *,
    stack: str | None = None,
    kind: Kind = "self",
) -> Why:
    """:func:`why` on the tokens of a record.

    Raises:
        InputError: the record was read from a file and no model is given, or it is another model's.
    """
    chosen = loaded or (record.origin.loaded if record.origin else None)
    if chosen is None:
        raise InputError("This record knows its model only by name; pass analyzer=… with its model.")
    if record.fingerprint and record.fingerprint != chosen.fingerprint:
        raise InputError(
            f"The record is of {record.model_name or 'a model'} with other weights or configuration than "
            f"{chosen.name or 'the given model'}; pass analyzer=… of the model that made it."
        )
    given: Mapping[str, Any] | None = record.origin.inputs if record.origin else None
    inputs = inputs_of_record(record, chosen) if given is None else dict(given)
    two = chosen.architecture == "encoder-decoder"
    target = (record.target_tokens,) if two else None
    prepared = Prepared(chosen.to_device(dict(inputs)), (record.tokens,), target)
    return _split(chosen, prepared, _Cell(layer, head, query, key, stack, kind))


@dataclass(frozen=True)
class _Cell:
    """Which score: of a head, between two positions."""

    layer: int
    head: int
    query: int
    key: int
    stack: str | None
    kind: Kind


def _split(loaded: LoadedModel, prepared: Prepared, cell: _Cell) -> Why:
    run = trace(loaded, prepared.inputs)
    call = call_of(run, cell.layer, cell.head, cell.stack, cell.kind)
    head = from_end(cell.head, call.heads)
    assert call.site is not None and call.weights is not None
    queries, keys = (axis[0] for axis in prepared.axes(call.site.stack, call.site.kind))
    at, source = _place("query", cell.query, call.weights.queries), _place("key", cell.key, call.weights.keys)
    if len(queries) != call.weights.queries or len(keys) != call.weights.keys:
        raise UnsupportedModelError(f"{call.site} does not attend over the text's tokens, so its scores have no names.")
    if call.query is None or call.key is None:
        raise UnsupportedModelError(
            f"{call.site.module} computes its attention outside of transformers' attention interface, so its queries "
            "and keys cannot be seen; effects() works for this model, why() does not."
        )
    weight = float(call.weights[head, at, source])
    q = call.query[0, head, at]
    k = call.key[0, head // (call.heads // call.key.shape[1]), source]
    seen = call.weights.visibility.seen(slice(at, at + 1), slice(source, source + 1), slice(0, 1), q.device)
    if seen is not None and not bool(seen.any()):
        raise SelectionError(
            f"{queries.pieces[at]!r} at {at} may not attend to {keys.pieces[source]!r} at {source}, so there is no "
            "score."
        )
    names = PartNames(loaded, run.calls)
    of_query, of_key = (_vectors(run, vector, names) for vector in (q, k))
    table = call.scaling * of_query.to_numpy() @ of_key.to_numpy().T
    score = call.scaling * float(q.detach().double() @ k.detach().double())
    _check(loaded, call, score, table, q.dtype)
    frame = pd.DataFrame(table, index=of_query.index, columns=of_key.index)
    return Why(
        table=frame,
        sources=pd.concat(
            [
                _sources(run, q, call.scaling * k.detach(), "query", names, prepared),
                _sources(run, k, call.scaling * q.detach(), "key", names, prepared),
            ],
            ignore_index=True,
        ),
        score=score,
        deviation=abs(float(table.sum()) - score),
        bias=_bias(call, head, at, source),
        weight=weight,
        head=names.head(call.site, head),
        query=at,
        key=source,
        query_token=queries.pieces[at],
        key_token=keys.pieces[source],
        model_name=loaded.name,
    )


def _place(name: str, at: int, size: int) -> int:
    if not -size <= at < size:
        raise SelectionError(f"There is no {name} {at}: there are {size}, numbered from 0 to {size - 1}.")
    return at % size


def _vectors(run: Trace, vector: Tensor, names: PartNames) -> pd.DataFrame:
    """What each part of the model gives a query or key vector: one row per part, one column per channel."""
    components = run.components
    tensors = [component.tensor for component in components]
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(vector), _AT_ONCE):
        chosen = torch.eye(len(vector), dtype=vector.dtype, device=vector.device)[start : start + _AT_ONCE]
        found = torch.autograd.grad(
            vector, tensors, grad_outputs=chosen, is_grads_batched=True, allow_unused=True, retain_graph=True
        )
        sums: dict[str, Tensor] = {}
        for component, gradient in zip(components, found, strict=True):
            if gradient is None:
                continue
            product = moved(component, gradient)
            if component.call is not None:
                call = run.calls[component.call]
                assert call.site is not None
                by_head = product.reshape(len(chosen), -1, call.heads, product.shape[-1]).sum((1, 3))
                for head in range(call.heads):
                    _add(sums, names.head(call.site, head), by_head[:, head])
            else:
                _add(sums, names.part(component).name, product.flatten(1).sum(1))
        for name, value in sums.items():
            parts.setdefault(name, []).append(value)
    return pd.DataFrame({name: torch.cat(values).cpu().numpy() for name, values in parts.items()}).T


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name] + value if name in sums else value


def _sources(
    run: Trace, vector: Tensor, other: Tensor, side: str, names: PartNames, prepared: Prepared
) -> pd.DataFrame:
    """Where the heads of one side had what they wrote from: their part of the score by source token."""
    calls = [call for call in run.calls if call.output is not None]
    found = gradients(vector @ other, [call.output for call in calls if call.output is not None])
    rows = []
    for call, gradient in zip(calls, found, strict=True):
        if gradient is None or call.site is None:
            continue
        pieces = prepared.axes(call.site.stack, call.site.kind)[1][0].pieces
        moved = source_effects(call, gradient[0].reshape(gradient.shape[1], call.heads, -1))
        for head in range(call.heads):
            name = names.head(call.site, head)
            rows += [
                {"side": side, "component": name, "position": position, "token": pieces[position], "score": value}
                for position, value in enumerate(moved[head].tolist())
            ]
    columns = ["side", "component", "position", "token", "score"]
    return pd.DataFrame(rows, columns=columns)


def _bias(call: TracedCall, head: int, query: int, key: int) -> float:
    """What a position bias (ALiBi, T5) adds to the score."""
    weights = call.weights
    bias = weights.source.bias if isinstance(weights, QueryKeyWeights) else None
    if bias is None:
        return 0.0
    return float(bias.tile(0, slice(head, head + 1), slice(query, query + 1), slice(key, key + 1)).reshape(()))


def _check(loaded: LoadedModel, call: TracedCall, score: float, table: Any, dtype: torch.dtype) -> None:
    if not math.isfinite(score):
        raise CaptureError(f"The score of {call.site} is {score}; look for NaN or infinite values in the weights.")
    scale = max(1.0, abs(score), float(abs(table).max()) if table.size else 0.0)
    if not abs(float(table.sum()) - score) <= TOLERANCE.get(dtype, 1e-4) * scale:
        raise CaptureError(
            f"The components of {loaded.name or 'the model'} give a score of {float(table.sum()):.6g} instead of "
            f"{score:.6g} at {call.site}, so they are not shown."
        )
