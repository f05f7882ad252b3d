"""Scores of one tile of queries and keys: what the row kernel and the column kernel share. Imports triton."""

# Kernels are programs for another machine: their arguments come by position and without Python types, and each `if` on
# a constant or on None is decided before the kernel is compiled.
# ruff: noqa: PLR0917
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

HIDDEN = tl.constexpr(-1.0e30)
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def load_tile(pointer, stride, first, size, count: tl.constexpr, edge: tl.constexpr, form: tl.constexpr):
    """``[count, width]``: rows ``first …`` of a head's queries or keys; zero beyond ``size`` and the channels.

    Without a mask wherever none is needed: only then can the loads of coming tiles run ahead.
    """
    row, channel = tl.arange(0, count), tl.arange(0, form.width)
    place = pointer + tl.cast(first, tl.int64) * stride + row[:, None] * stride + channel[None, :]
    if edge:
        tile = tl.load(place, mask=(first + row < size)[:, None] & (channel < form.channels)[None, :], other=0.0)
    elif form.channels < form.width:
        tile = tl.load(place, mask=(channel < form.channels)[None, :], other=0.0)
    else:
        tile = tl.load(place)
    return tile


@triton.jit
def scores_of(products, rows, cols, text, head, site, sizes, scale):
    """What is compared within a row: products, or with a softcap or bias the scores in units of log 2.

    ``rows`` and ``cols`` broadcast to the tile, whichever of them is its first axis.
    """
    scores = products
    if scale.softcap is not None:
        # tanh(x) = 2 / (1 + exp(-2x)) - 1
        half = scores * (scale.scaling / scale.softcap)
        scores = scale.softcap * (2.0 / (1.0 + tl.exp2(half * (-2.0 * LOG2E))) - 1.0)
    elif site.bias is not None:
        scores = scores * scale.scaling
    if site.bias is not None:
        start = site.bias.pointer + text * site.bias.batch + head * site.bias.head
        place = rows.to(tl.int64) * site.bias.row + cols
        added = tl.load(start + place, mask=(rows < sizes.queries) & (cols < sizes.keys), other=0.0)
        scores = scores + added.to(tl.float32)
    if (scale.softcap is not None) or (site.bias is not None):
        scores = tl.maximum(scores * LOG2E, HIDDEN)
    return scores


@triton.jit
def seen_of(rows, cols, text, head, site, sizes):
    """Which cells of a tile are visible."""
    inside = (rows < sizes.queries) & (cols < sizes.keys)
    seen = inside
    if sizes.lower is not None:
        seen = seen & (cols >= rows + sizes.lower)
    if sizes.upper is not None:
        seen = seen & (cols <= rows + sizes.upper)
    if site.mask is not None:
        start = site.mask.pointer + text * site.mask.batch + head * site.mask.head
        place = rows.to(tl.int64) * site.mask.row + cols
        seen = seen & (tl.load(start + place, mask=inside, other=0) != 0)
    if site.key_seen is not None:
        flags = tl.load(site.key_seen + text * sizes.keys + cols, mask=cols < sizes.keys, other=0)
        seen = seen & (flags != 0)
    if site.query_segments is not None:
        of_query = tl.load(site.query_segments + text * sizes.queries + rows, mask=rows < sizes.queries, other=-1)
        of_key = tl.load(site.key_segments + text * sizes.keys + cols, mask=cols < sizes.keys, other=-2)
        seen = seen & (of_query == of_key)
    return seen


@triton.jit
def whole_tiles(first, last, low, high, size, tile: tl.constexpr):
    """Where on the other axis the tiles of a run are: ``(start, whole, rest, stop)``.

    An index ``first … last`` is seen from ``index + low`` to ``index + high`` (None: that side is open). All tiles lie
    in ``[start, stop)``; those in ``[whole, rest)`` are seen from every index of the run and lie within ``size``.
    """
    start, whole = first * 0, first * 0
    stop, rest = size, size // tile * tile
    if low is not None:
        start = tl.minimum(tl.maximum(first + low, 0), size) // tile * tile
        whole = (tl.minimum(tl.maximum(last + low, 0), size) + tile - 1) // tile * tile
    if high is not None:
        stop = tl.minimum(tl.maximum(last + high + 1, 0), size)
        rest = tl.minimum(tl.maximum(first + high + 1, 0), size) // tile * tile
    whole = tl.minimum(whole, stop)
    return start, whole, tl.maximum(rest, whole), stop
