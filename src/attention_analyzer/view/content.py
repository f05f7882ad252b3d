"""A record (or two, to compare) as a payload: what the page shows, and nothing it does not need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError
from attention_analyzer.metrics.head_table import head_table
from attention_analyzer.text.alignment import align
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view.annotations import Annotations
from attention_analyzer.view.downsample import Coarse, coarse
from attention_analyzer.view.head_names import alike_groups, pattern_content
from attention_analyzer.view.media_content import media_content, opening_state
from attention_analyzer.view.payload import PayloadWriter
from attention_analyzer.view.program import space_deflated
from attention_analyzer.view.site_content import (
    can_be_scores,
    scores_content,
    scores_size,
    weights_content,
    weights_size,
)
from attention_analyzer.view.token_content import token_content
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.visibility import Visibility

FORMAT = "attention-analyzer view"
#: Queries and keys of all sites together that are always worth their bytes: they explain weights as well.
CHEAP_SCORES = 600_000
#: Up to this many positions a side the page draws a head's small picture from the weights themselves.
PICTURES_FROM = 128
#: A key that takes this share of a whole layer's weight (and several times an even share) is a sink.
SINK_SHARE, SINK_TIMES_EVEN, SINK_SEEN = 0.3, 4.0, 0.25


def payload_parts(
    record: CapturedAttention,
    other: CapturedAttention | None = None,
    *,
    annotations: Annotations | None = None,
    state: Mapping[str, Any] | None = None,
    queries_and_keys: bool | None = None,
    deflate: bool = True,
    title: str = "",
) -> list[bytes]:
    """The payload of a record, in pieces: header first, then every block.

    Args:
        other: a second record, for the Difference view.
        annotations: tracks, labels and groups from other analyses, for ``record``.
        state: what the page shows first; a state that the page gave out.
        queries_and_keys: True stores queries and keys wherever there are any (the Query–key view needs them), False
            only where weights would be larger; None also where they are small.
        deflate: whether to compress; False is faster where the bytes stay on this machine.

    Raises:
        InputError: a record without tokens, or annotations that do not fit.
    """
    writer = PayloadWriter(deflate)
    records = [record] if other is None else [record, other]
    contents = [
        _record_content(part, writer, queries_and_keys, annotations if part is record else None) for part in records
    ]
    header = {
        "format": FORMAT,
        "title": title or page_title(record, other),
        "records": contents,
        "alignments": [] if other is None else _alignments(record, other),
        "assets": {"space": writer.add_deflated(*space_deflated())},
        "state": dict(opening_state(record) if state is None else state),
    }
    return writer.parts(header)


def payload(record: CapturedAttention, other: CapturedAttention | None = None, **options: Any) -> bytes:
    """The payload as one run of bytes; options as in :func:`payload_parts`."""
    return b"".join(payload_parts(record, other, **options))


def token_tables(record: CapturedAttention) -> list[Tokens]:
    """The different token sequences of a record's axes, in the order its sites use them."""
    tables: list[Tokens] = []
    for entry in record.entries:
        for tokens in (entry.queries, entry.keys):
            if tokens not in tables:
                tables.append(tokens)
    return tables


def _record_content(
    record: CapturedAttention,
    writer: PayloadWriter,
    queries_and_keys: bool | None,
    annotations: Annotations | None,
) -> dict[str, Any]:
    tables = token_tables(record)
    if any(len(tokens) == 0 for tokens in tables):
        raise InputError("This record has no tokens on one of its axes; there is nothing to show.")
    if queries_and_keys is None:
        total = sum(scores_size(entry.weights) for entry in record.entries)
        queries_and_keys = True if total <= CHEAP_SCORES else None
    sinks: list[set[int]] = [set() for _ in tables]
    sites = []
    pictures = []
    for entry in record.entries:
        overview = coarse(entry.weights)
        pictures.append(overview.pictures)
        keys_at = tables.index(entry.keys)
        sinks[keys_at] |= sinks_of(overview)
        sites.append(
            {
                "stack": entry.site.stack,
                "kind": entry.site.kind,
                "layer": entry.site.layer,
                "name": entry.site.name,
                "shape": list(entry.weights.shape),
                "queries": tables.index(entry.queries),
                "keys": keys_at,
                "diagonal": entry.diagonal,
                "band": _band(entry.weights.visibility),
                **_numbers(entry, overview, writer, queries_and_keys),
            }
        )
    return {
        "model": shown_name(record),
        "fingerprint": record.fingerprint,
        "exact": record.exact,
        "tokens": [token_content(tokens, annotations.parts if annotations else ()) for tokens in tables],
        "media": media_content(record, writer),
        "sites": sites,
        "heads": _head_table(record),
        "sinks": [sorted(found) for found in sinks],
        **record_annotations(record, annotations, pictures),
    }


def record_annotations(
    record: CapturedAttention, annotations: Annotations | None, pictures: Sequence[np.ndarray]
) -> dict[str, Any]:
    """What heads and tokens can be shown by: what this text shows itself, and what other analyses have added.

    Args:
        pictures: of every site, as :func:`.coarse.coarse` makes them.
    """
    tables = token_tables(record)
    added = (annotations or Annotations()).content(record, tables)
    places = [(tables.index(entry.queries), tables.index(entry.keys)) for entry in record.entries]
    groups = alike_groups(pictures, places)
    if groups is not None:
        added["clusters"].append({"name": "alike in this text", "groups": groups})
    return {**pattern_content(record), **added}


def _band(seen: Visibility) -> list[int | None] | None:
    """Query i sees the keys i + lower to i + upper; None where that does not say it all."""
    return [seen.lower, seen.upper] if seen.is_band else None


def _numbers(
    entry: SiteRecord, overview: Coarse, writer: PayloadWriter, queries_and_keys: bool | None
) -> dict[str, Any]:
    weights = entry.weights
    smaller = scores_size(weights) < weights_size(weights)
    if isinstance(weights, QueryKeyWeights) and can_be_scores(weights) and (queries_and_keys or smaller):
        content = scores_content(weights, writer)
    else:
        content = weights_content(weights, writer)
    picture = None
    if max(weights.queries, weights.keys) > PICTURES_FROM:
        rounded = (overview.pictures.clip(0, 1) ** 0.5 * 255).round().astype(np.uint8)
        picture = {"block": writer.add(rounded), "sampled": overview.sampled}
    return {**content, "pictures": picture}


def sinks_of(overview: Coarse) -> set[int]:
    """Keys on which most of a layer's heads rest, seen by enough queries to say so."""
    keys = overview.received.shape[1]
    share = np.where(overview.seen_share >= SINK_SEEN, overview.received.mean(0), 0.0)
    return set(np.flatnonzero(share >= max(SINK_SHARE, SINK_TIMES_EVEN / keys)).tolist())


def _head_table(record: CapturedAttention) -> dict[str, list[float | None]]:
    """Metric columns, one number per head in the order of the sites."""
    table = head_table(record)
    columns = [name for name in table.columns if name not in ("stack", "kind", "layer", "head")]
    return {
        name: [float(f"{value:.5g}") if math.isfinite(value) else None for value in table[name].astype(float)]
        for name in columns
    }


def _alignments(first: CapturedAttention, second: CapturedAttention) -> list[dict[str, Any]]:
    """How token tables of two records meet; only tables that corresponding sites use."""
    tables = [token_tables(record) for record in (first, second)]
    by_name = {entry.site.name: entry for entry in second.entries}
    result: list[dict[str, Any]] = []
    for entry in first.entries:
        match = by_name.get(entry.site.name)
        if match is None:
            continue
        for one, two in ((entry.queries, match.queries), (entry.keys, match.keys)):
            pair = {"first": tables[0].index(one), "second": tables[1].index(two)}
            if not any(known["first"] == pair["first"] and known["second"] == pair["second"] for known in result):
                result.append({**pair, "units": align(one, two)})
    return result


def shown_name(record: CapturedAttention) -> str:
    """The model's name; of a folder only its last part: pages are passed on, the folders above are private."""
    name = record.model_name or ""
    return Path(name).name if Path(name).is_absolute() else name


def page_title(record: CapturedAttention, other: CapturedAttention | None) -> str:
    """What a page of these records is called: the beginning of the text, and the models."""
    text = " ".join(record.tokens.text.split())
    short = text if len(text) <= 60 else text[:59] + "…"
    names = [shown_name(part) for part in (record, other) if part is not None and part.model_name]
    return " · ".join([short, *dict.fromkeys(names)])
