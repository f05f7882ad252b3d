"""Attention between parts measured inside the forward, for texts whose queries and keys should not be kept."""

from __future__ import annotations

from dataclasses import replace

from attention_analyzer.errors import InputError
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import Text, prepare
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.parts.attention import PartAttention
from attention_analyzer.parts.measure import Frame, SitePart, frame_of, result_of
from attention_analyzer.recording import run
from attention_analyzer.site import Site
from attention_analyzer.text.splitters import Level, parts_of
from attention_analyzer.weights.base import AttentionWeights


def stream_between(
    loaded: LoadedModel, text: Text, level: Level | None = None, *, truncate: bool = False, check: bool = True
) -> PartAttention:
    """:func:`between` inside the forward: no query or key outlives its layer, so texts may be very long.

    Of an encoder–decoder the decoder's self-attention is measured.

    Raises:
        InputError, TooLongError: the text cannot be used.
    """
    prepared = prepare(loaded, [text], truncate=truncate)
    tokens = (prepared.target or prepared.source)[0]
    parts = parts_of(tokens, level)
    frames: dict[object, Frame] = {}

    def keep(place: CallSite, weights: AttentionWeights) -> SitePart | None:
        if place.kind == "cross" or weights.shape[1:] != (len(tokens), len(tokens)):
            return None
        site = Site(place.stack, place.kind, 0, weights.heads)
        return frame_of(frames, weights, 0, parts, parts).measured(site, weights)

    forward = run(loaded, prepared, keep=keep, check=check)
    sites = [replace(part, site=site) for site, part in forward.sites if part is not None]
    if not sites:
        raise InputError(f"No self-attention of {loaded.name} is over the tokens of the text alone.")
    last = sites[-1].site.stack
    sites = [part for part in sites if part.site.stack == last]
    return result_of(sites, parts, parts, loaded.name)
