"""Attention between the parts of a text: every head, exactly, in one pass with memory linear in the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.parts.attention import PartAttention
from attention_analyzer.parts.chance import Geometry
from attention_analyzer.site import Kind, Site, from_end
from attention_analyzer.text.parts import Parts
from attention_analyzer.text.splitters import Level, parts_of
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.reductions import DistanceSums, Reduction, RunSums

#: Bytes that a result may take.
MOST_BYTES = 4 << 30
_SUMS, _LABELS, _LEFT_OUT = 6, "parts", "sinks"


@dataclass(frozen=True)
class SitePart:
    """One site's attention between parts; arrays ``[head, query part, key part]``, means over a part's tokens."""

    site: Site
    weights: Tensor
    without_sinks: Tensor
    by_size: Tensor
    by_size_without_sinks: Tensor
    by_distance: Tensor
    by_distance_without_sinks: Tensor


def between(
    record: CapturedAttention,
    level: Level | None = None,
    *,
    key_level: Level | None = None,
    stack: str | None = None,
    kind: Kind | None = None,
    layers: Iterable[int] | None = None,
) -> PartAttention:
    """How much the tokens of each part attend to each part, in every head.

    Args:
        level: "sentence", "turn", "document" …, or parts of your own; by default the sections of a chat, else
            sentences.
        key_level: of the keys, where those are another text (cross-attention); the same level by default.
        stack, kind: which attention, if there is more than one; by default that of the record's first layer.
        layers: some layers only; all by default.

    Raises:
        InputError: the text has no such parts, or more than fit.
        SelectionError: there is no such layer, stack or kind.
    """
    chosen = _chosen(record, stack, kind, layers)
    queries, keys = chosen[0].queries, chosen[0].keys
    query_parts = parts_of(queries, level)
    key_parts = (
        query_parts if keys is queries or keys == queries else _parts_of_keys(keys, level, key_level, query_parts)
    )
    check_size(query_parts, key_parts, sum(entry.site.heads for entry in chosen))
    frames: dict[object, Frame] = {}
    sites = []
    for entry in chosen:
        frame = frame_of(frames, entry.weights, entry.diagonal, query_parts, key_parts)
        sites.append(frame.measured(entry.site, entry.weights))
    return result_of(sites, query_parts, key_parts, record.model_name)


@dataclass(frozen=True)
class Frame:
    """What sites of one geometry share."""

    geometry: Geometry
    whole: Geometry
    labels: tuple[Tensor, Tensor]

    def measured(self, site: Site, weights: AttentionWeights) -> SitePart:
        has_distance = self.geometry.diagonal is not None
        wanted: list[Reduction] = [RunSums(_LABELS), RunSums(_LABELS, _LEFT_OUT)]
        if has_distance:
            edges = self.geometry.edges
            wanted += [DistanceSums(edges, _LABELS), DistanceSums(edges, _LABELS, _LEFT_OUT)]
        groups = {_LEFT_OUT: self.geometry.left_out[None]}
        results = weights.reduce(
            wanted, diagonal=self.geometry.diagonal, groups=_on(groups, weights), labels={_LABELS: self.labels}
        )
        queries, keys = (len(borders) - 1 for borders in (self.whole.query_borders, self.whole.key_borders))
        sizes = torch.tensor(self.whole.query_borders).diff().double()[:, None]
        sums = [results[each][0].cpu() for each in wanted]
        means = [part.reshape(-1, queries, keys) / sizes for part in sums[:2]]
        nothing = torch.full_like(means[0], torch.nan)
        distance = (
            [frame.by_distance(part) for frame, part in zip((self.whole, self.geometry), sums[2:], strict=True)]
            if has_distance
            else [nothing, nothing]
        )
        return SitePart(
            site,
            weights=means[0],
            without_sinks=means[1],
            by_size=self.whole.by_size,
            by_size_without_sinks=self.geometry.by_size,
            by_distance=distance[0],
            by_distance_without_sinks=distance[1],
        )


def sinks_of(tokens: Tokens) -> Tensor:
    """bool ``[token]``: special tokens and the first one, on which heads rest that have nothing to look for."""
    flags = torch.tensor(tokens.is_special)
    flags[:1] = True
    return flags


def frame_of(
    frames: dict[object, Frame], weights: AttentionWeights, diagonal: int | None, queries: Parts, keys: Parts
) -> Frame:
    seen = weights.visibility.to("cpu")
    shape = (seen.lower, seen.upper, diagonal, seen.is_band or id(weights))
    if shape not in frames:
        parts = (queries.borders, keys.borders)
        left_out = sinks_of(keys.tokens)
        labels = (torch.tensor([queries.owners]), torch.tensor([keys.owners]))
        whole = Geometry(seen, diagonal, *parts, torch.zeros_like(left_out))
        frames[shape] = Frame(Geometry(seen, diagonal, *parts, left_out), whole, labels)
    return frames[shape]


def _on(groups: Mapping[str, Tensor], weights: AttentionWeights) -> dict[str, Tensor]:
    device = weights.empty().device
    return {name: group.to(device) for name, group in groups.items()}


def _chosen(
    record: CapturedAttention, stack: str | None, kind: Kind | None, layers: Iterable[int] | None
) -> list[SiteRecord]:
    first = record.entries[0].site
    wanted = (stack or first.stack, kind or ("self" if stack is None else None) or first.kind)
    found = [entry for entry in record.entries if (entry.site.stack, entry.site.kind) == wanted]
    if not found:
        known = ", ".join(dict.fromkeys(f"{site.stack} {site.kind}" for site in record.sites))
        raise SelectionError(f"There is no {' '.join(wanted)}-attention; this record has {known}.")
    if layers is not None:
        there = [entry.site.layer for entry in found]
        numbers = {number: from_end(number, max(there) + 1) for number in layers}
        for given, number in numbers.items():
            if number not in there:
                raise SelectionError(f"There is no layer {given}; the layers are {there[0]} to {there[-1]}.")
        found = [entry for entry in found if entry.site.layer in numbers.values()]
    return found


def _parts_of_keys(keys: Tokens, level: Level | None, key_level: Level | None, query_parts: Parts) -> Parts:
    if key_level is None and not (level is None or isinstance(level, str) or callable(level)):
        raise InputError("Queries and keys are different texts, so parts of your own are needed for both: key_level=….")
    return parts_of(keys, key_level if key_level is not None else query_parts.level)


def check_size(queries: Parts, keys: Parts, heads: int) -> None:
    needed = _SUMS * 8 * heads * len(queries) * len(keys)
    if needed > MOST_BYTES:
        longest = max(range(len(queries)), key=queries.sizes.__getitem__)
        raise InputError(
            f"{len(queries):,} × {len(keys):,} parts of {heads} heads need {needed / 2**30:.0f} GiB, but at most "
            f"{MOST_BYTES / 2**30:.0f} GiB are used; give a coarser level than {queries.level!r} (its longest part is "
            f"{queries.parts[longest].name!r}), or layers=…."
        )


def result_of(sites: Sequence[SitePart], queries: Parts, keys: Parts, model_name: str) -> PartAttention:
    def joined(name: str) -> np.ndarray:
        parts = [getattr(part, name).expand(part.site.heads, -1, -1) for part in sites]
        return torch.cat(parts).numpy()

    heads = tuple((part.site, head) for part in sites for head in range(part.site.heads))
    return PartAttention(
        queries=queries,
        keys=keys,
        heads=heads,
        weights=joined("weights"),
        without_sinks=joined("without_sinks"),
        by_size=joined("by_size"),
        by_size_without_sinks=joined("by_size_without_sinks"),
        by_distance=joined("by_distance"),
        by_distance_without_sinks=joined("by_distance_without_sinks"),
        model_name=model_name,
    )
