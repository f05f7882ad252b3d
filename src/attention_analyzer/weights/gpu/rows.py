"""The row pass as a Triton kernel. Imports triton, so only :mod:`.launch` imports this.

One program finishes a tile's queries of one head while it runs over the keys once, with the running maximum of flash
attention: whatever is a sum over a row is kept relative to the highest score so far and scaled down when a higher one
comes. Sums are float32 whatever the queries and keys are.

Most tiles are *interior*: every query of the tile sees every key, and no key is near a query's own token. They need no
mask, and the distance of their keys follows from the place in the tile. Only the others are looked at cell by cell.
"""

# ruff: noqa: C901, PLR0917
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

from attention_analyzer.weights.gpu.tiles import HIDDEN, LN2, LOG2E, load_tile, scores_of, seen_of, whole_tiles


@triton.jit
def _with_tile(
    state, query, key_base, begin, rows, own, text, head, site, sizes, scale, basis, near, matches, out,
    edge: tl.constexpr, side: tl.constexpr, form: tl.constexpr,
):  # fmt: skip
    """The sums of a row with one more tile of keys.

    ``side`` is 1 where all keys come before the queries' own tokens, -1 where all come after, 0 where neither is sure.
    """
    highest, lowest, total, product, strongest, distance, linear, close, matched, met = state
    cols = begin + tl.arange(0, form.cols)
    key = load_tile(key_base, site.key.row, begin, sizes.keys, form.cols, edge, form)
    products = tl.dot(query, tl.trans(key), input_precision=form.precision)
    scores = scores_of(products, rows[:, None], cols[None, :], text, head, site, sizes, scale)
    if edge:
        seen = seen_of(rows[:, None], cols[None, :], text, head, site, sizes)
        if out.smallest is not None:
            lowest = tl.minimum(lowest, tl.min(tl.where(seen, scores, float("inf")), 1))
        scores = tl.where(seen, scores, HIDDEN)
    elif out.smallest is not None:
        lowest = tl.minimum(lowest, tl.min(scores, 1))
    if out.strongest is not None:
        top, place = tl.max(scores, 1, return_indices=True, return_indices_tie_break_left=True)
        strongest = tl.where(top > highest, begin + place, strongest)
    else:
        top = tl.max(scores, 1)
    raised = tl.maximum(highest, top)
    step = (highest - raised) * scale.unit
    shrink = tl.exp2(step)
    above = scores * scale.unit - (raised * scale.unit)[:, None]
    exponential = tl.exp2(above)
    if edge:
        exponential = tl.where(seen, exponential, 0.0)
    # Sums of e · (s - highest) move to the new highest by what all exponentials together weigh.
    product = shrink * (product + step * total) + tl.sum(exponential * above, 1)
    here = tl.sum(exponential, 1)
    total = shrink * total + here
    steps = cols[None, :] - own[:, None]
    if out.distance is not None:
        distance = distance * shrink
        if side == 0:
            distance += tl.sum(exponential * tl.abs(steps).to(tl.float32), 1)
        else:
            distance += here * (side * (own - begin)).to(tl.float32)
    if form.basis > 0:
        column = tl.arange(0, form.basis)
        features = tl.load(
            basis.pointer + text * basis.batch + cols[:, None] * form.basis + column[None, :],
            mask=(cols < sizes.keys)[:, None],
            other=0.0,
        )
        if side == 0:  # distances are counted above
            features = tl.where((column == form.basis - 1)[None, :], 0.0, features.to(tl.float32)).to(features.dtype)
        linear = linear * shrink[:, None]
        if features.dtype == tl.float32:
            linear = tl.dot(exponential, features, linear, input_precision="tf32x3")
        else:
            # One part in bfloat16 errs by 1e-3, two by 4e-6.
            rounded = exponential.to(features.dtype)
            linear = tl.dot(rounded, features, linear)
            linear = tl.dot((exponential - rounded.to(tl.float32)).to(features.dtype), features, linear)
    if form.near > 0:
        close = close * shrink[:, None]
        if edge:
            for number in range(near.count):
                inside = (steps >= tl.load(near.low + number)) & (steps <= tl.load(near.high + number))
                weight = tl.sum(tl.where(inside, exponential, 0.0), 1)
                close += tl.where((tl.arange(0, form.near) == number)[None, :], weight[:, None], 0.0)
    if form.matches > 0:
        matched = matched * shrink[:, None]
        for number in range(matches.count):
            plane = number * sizes.batch + text
            of_query = tl.load(matches.queries + plane * sizes.queries + rows, mask=rows < sizes.queries, other=-1)
            of_key = tl.load(matches.keys + plane * sizes.keys + cols, mask=cols < sizes.keys, other=-2)
            among = tl.load(matches.among + number)
            hit = (of_query[:, None] == of_key[None, :]) & (of_query >= 0)[:, None]
            hit = hit & ((among == 0) | (steps < 0) | ((among == 1) & (steps > 0)))
            if edge:
                hit = hit & seen
            this = (tl.arange(0, form.matches) == number)[None, :]
            matched += tl.where(this, tl.sum(tl.where(hit, exponential, 0.0), 1)[:, None], 0.0)
            met += tl.where(this, tl.sum(hit.to(tl.int32), 1)[:, None], 0)
    return raised, lowest, total, product, strongest, distance, linear, close, matched, met


@triton.jit
def _with_places(state, side: tl.constexpr, form: tl.constexpr):
    """After interior tiles: the places within them, counted in the last column of the basis, enter the distance."""
    highest, lowest, total, product, strongest, distance, linear, close, matched, met = state
    is_place = (tl.arange(0, form.basis) == form.basis - 1)[None, :]
    distance -= side * tl.sum(tl.where(is_place, linear, 0.0), 1)
    linear = tl.where(is_place, 0.0, linear)
    return highest, lowest, total, product, strongest, distance, linear, close, matched, met


@triton.jit(do_not_specialize=["sizes"])
def row_kernel(site, sizes, scale, basis, near, matches, counts, out, form: tl.constexpr):
    """Finish a tile's queries of one head; ``counts [batch, query]`` are the queries that count."""
    flat = tl.program_id(1).to(tl.int64)
    text, head = flat // sizes.heads, flat % sizes.heads
    # The last queries of a causal text have the most keys: they begin first.
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * form.rows
    last = tl.minimum(first + form.rows, sizes.queries) - 1
    rows = first + tl.arange(0, form.rows)
    inside = rows < sizes.queries
    query_base = site.query.pointer + text * site.query.batch + head * site.query.head
    query = load_tile(query_base, site.query.row, first, sizes.queries, form.rows, True, form)
    key_base = site.key.pointer + text * site.key.batch + (head // sizes.group) * site.key.head
    own = rows + sizes.diagonal
    keys = sizes.keys

    highest = tl.full([form.rows], HIDDEN, tl.float32)
    lowest = tl.full([form.rows], float("inf"), tl.float32)
    total = tl.zeros([form.rows], tl.float32)
    product = tl.zeros([form.rows], tl.float32)  # of exponential and score above the highest
    strongest = tl.zeros([form.rows], tl.int32)
    distance = tl.zeros([form.rows], tl.float32)
    linear = tl.zeros([form.rows, max(form.basis, 1)], tl.float32)
    close = tl.zeros([form.rows, max(form.near, 1)], tl.float32)
    matched = tl.zeros([form.rows, max(form.matches, 1)], tl.float32)
    met = tl.zeros([form.rows, max(form.matches, 1)], tl.int32)
    state = (highest, lowest, total, product, strongest, distance, linear, close, matched, met)

    start, before, rest, stop = whole_tiles(first, last, sizes.lower, sizes.upper, keys, form.cols)
    if form.all_cells:
        before, rest = start, start
    # Tiles around the queries' own tokens, [around, after), are not interior either.
    around = rest
    if form.aligned:
        nearest = first + sizes.diagonal
        if form.near > 0:
            nearest += tl.minimum(near.nearest, 0)
        around = tl.minimum(around, tl.minimum(tl.maximum(nearest, 0), keys) // form.cols * form.cols)
        around = tl.maximum(around, before)
    if not form.all_cells:
        if sizes.lower is not None:
            for begin in tl.range(start, before, form.cols):
                state = _with_tile(
                    state, query, key_base, begin, rows, own, text, head, site, sizes, scale,
                    basis, near, matches, out, True, 0, form,
                )  # fmt: skip
        for begin in tl.range(before, around, form.cols, num_stages=form.stages):
            state = _with_tile(
                state, query, key_base, begin, rows, own, text, head, site, sizes, scale,
                basis, near, matches, out, False, 1, form,
            )  # fmt: skip
        if form.basis > 0:
            state = _with_places(state, 1, form)
    after = stop
    if form.ahead:
        farthest = last + sizes.diagonal + 1
        if form.near > 0:
            farthest += tl.maximum(near.farthest, 0)
        after = (tl.minimum(tl.maximum(farthest, 0), keys) + form.cols - 1) // form.cols * form.cols
        after = tl.minimum(tl.maximum(after, around), stop)
    for begin in tl.range(around, after, form.cols):
        state = _with_tile(
            state, query, key_base, begin, rows, own, text, head, site, sizes, scale,
            basis, near, matches, out, True, 0, form,
        )  # fmt: skip
    if form.ahead:
        rest = tl.maximum(rest, after)
        for begin in tl.range(after, rest, form.cols, num_stages=form.stages):
            state = _with_tile(
                state, query, key_base, begin, rows, own, text, head, site, sizes, scale,
                basis, near, matches, out, False, -1, form,
            )  # fmt: skip
        if form.basis > 0:
            state = _with_places(state, -1, form)
        for begin in tl.range(rest, stop, form.cols):
            state = _with_tile(
                state, query, key_base, begin, rows, own, text, head, site, sizes, scale,
                basis, near, matches, out, True, 0, form,
            )  # fmt: skip

    highest, lowest, total, product, strongest, distance, linear, close, matched, met = state
    sees = highest > HIDDEN / 2
    whole_total = total
    if site.sinks is not None:
        place = text * site.sinks.batch + head * site.sinks.head + rows * site.sinks.row
        sink = tl.load(site.sinks.pointer + place, mask=inside, other=0.0)
        whole_total += tl.exp2(sink.to(tl.float32) * LOG2E - highest * scale.unit)
    safe = tl.where(sees, whole_total, 1.0)
    share = total / safe
    at = flat * sizes.queries + rows
    count = tl.load(counts + text * sizes.queries + rows, mask=inside, other=0) != 0
    log_sum = highest * scale.unit + tl.log2(safe)
    tl.store(out.log_sum + at, tl.where(sees & count, log_sum, float("inf")), mask=inside)
    entropy = tl.maximum((tl.log2(safe) * share - product / safe) * LN2, 0.0)
    tl.store(out.entropy + at, tl.where(sees, entropy, 0.0), mask=inside)
    tl.store(out.largest + at, tl.where(sees, 1.0 / safe, 0.0), mask=inside)
    tl.store(out.total + at, tl.where(sees, share, 0.0), mask=inside)
    if out.smallest is not None:
        smallest = tl.exp2((lowest - highest) * scale.unit) / safe
        tl.store(out.smallest + at, tl.where(sees, smallest, float("inf")), mask=inside)
    if out.strongest is not None:
        tl.store(out.strongest + at, strongest.to(tl.float32), mask=inside)
    if out.distance is not None:
        mean = distance / tl.where(sees, total, 1.0)
        tl.store(out.distance + at, tl.where(sees, mean, float("nan")), mask=inside)
    plane = tl.num_programs(1).to(tl.int64) * sizes.queries
    if out.groups is not None:
        column = tl.arange(0, form.basis)
        place = out.groups + column[None, :] * plane + at[:, None]
        weights = tl.where(sees[:, None], linear / safe[:, None], 0.0)
        tl.store(place, weights, mask=inside[:, None] & (column < basis.count)[None, :])
    if form.near > 0:
        column = tl.arange(0, form.near)
        place = out.near + column[None, :] * plane + at[:, None]
        weights = tl.where(sees[:, None], close / safe[:, None], 0.0)
        tl.store(place, weights, mask=inside[:, None] & (column < near.count)[None, :])
    if form.matches > 0:
        column = tl.arange(0, form.matches)
        place = out.matches + column[None, :] * plane + at[:, None]
        weights = tl.where(met > 0, matched / safe[:, None], float("nan"))
        tl.store(place, weights, mask=inside[:, None] & (column < matches.count)[None, :])
