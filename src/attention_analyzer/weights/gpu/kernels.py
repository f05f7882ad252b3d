"""The row pass and the column sums as Triton kernels. Imports triton, so only :mod:`.launch` imports this.

One program of :func:`row_kernel` finishes ``ROWS`` queries of one head while it runs over the keys once, with the
running maximum of flash attention: whatever is a sum over a row is kept relative to the highest score so far and scaled
down when a higher one comes. Sums are float32 whatever the queries and keys are. What keys receive needs finished rows,
so :func:`column_kernel` makes the scores a second time, one program per run of keys.

Scores are in units of log 2: exponentials and their sums are the same, and ``exp2`` is what the hardware has.
"""

# Kernels are programs for another machine: their many arguments are what the host hands over, in its order and without
# Python types, and each `if` on a constant is decided before the kernel is compiled.
# ruff: noqa: C901, N803, PLR0917
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

HIDDEN = tl.constexpr(-1.0e30)
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _scores(
    query, key_pointer, key_stride, cols, channel, channels,
    text, head, rows,
    scaling, softcap,
    bias_pointer, bias_batch, bias_head, bias_row,
    mask_pointer, mask_batch, mask_head, mask_row,
    key_seen_pointer, query_segment_pointer, key_segment_pointer,
    queries, keys, lower, upper,
    HAS_SOFTCAP: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr, HAS_KEY_SEEN: tl.constexpr,
    HAS_SEGMENTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of scores in units of log 2, hidden cells at ``HIDDEN``, and which cells are visible."""
    inside_rows, inside_cols = rows < queries, cols < keys
    key = tl.load(
        key_pointer + cols[:, None] * key_stride + channel[None, :],
        mask=inside_cols[:, None] & (channel < channels)[None, :],
        other=0.0,
    )
    scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scaling
    if HAS_SOFTCAP:
        # tanh(x) = 2 / (1 + exp(-2x)) - 1
        scores = softcap * (2.0 / (1.0 + tl.exp2(scores * (-2.0 * LOG2E) / softcap)) - 1.0)
    apart = cols[None, :] - rows[:, None]
    seen = (apart >= lower) & (apart <= upper) & inside_rows[:, None] & inside_cols[None, :]
    both = inside_rows[:, None] & inside_cols[None, :]
    if HAS_BIAS:
        place = text * bias_batch + head * bias_head + rows[:, None] * bias_row + cols[None, :]
        scores += tl.load(bias_pointer + place, mask=both, other=0.0).to(tl.float32)
    if HAS_MASK:
        place = text * mask_batch + head * mask_head + rows[:, None] * mask_row + cols[None, :]
        seen = seen & (tl.load(mask_pointer + place, mask=both, other=0) != 0)
    if HAS_KEY_SEEN:
        seen = seen & (tl.load(key_seen_pointer + text * keys + cols, mask=inside_cols, other=0) != 0)[None, :]
    if HAS_SEGMENTS:
        of_query = tl.load(query_segment_pointer + text * queries + rows, mask=inside_rows, other=-1)
        of_key = tl.load(key_segment_pointer + text * keys + cols, mask=inside_cols, other=-2)
        seen = seen & (of_query[:, None] == of_key[None, :])
    scores = tl.where(seen, tl.maximum(scores * LOG2E, HIDDEN), HIDDEN)
    return scores, seen


@triton.jit
def row_kernel(
    query_pointer, query_batch, query_head, query_row,
    key_pointer, key_batch, key_head, key_row,
    bias_pointer, bias_batch, bias_head, bias_row,
    mask_pointer, mask_batch, mask_head, mask_row,
    key_seen_pointer, query_segment_pointer, key_segment_pointer,
    sinks_pointer, sinks_batch, sinks_head, sinks_row,
    members_pointer, members_batch,
    match_queries_pointer, match_keys_pointer, among_pointer,
    near_low_pointer, near_high_pointer, nearest, farthest,
    results_pointer, linear_pointer, matches_pointer, near_pointer,
    heads, group, queries, keys, channels, flat_queries,
    lower, upper, diagonal, scaling, softcap, batch,
    NEAR: tl.constexpr, NEAR_PADDED: tl.constexpr,
    GROUPS: tl.constexpr, GROUPS_PADDED: tl.constexpr, MATCHES: tl.constexpr, MATCHES_PADDED: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr, HAS_KEY_SEEN: tl.constexpr,
    HAS_SEGMENTS: tl.constexpr, HAS_SINKS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Finish ``ROWS`` queries of one head.

    ``results [7, batch * head, query]``: log-sum (log 2), entropy, largest, smallest, total, strongest key, distance.
    ``members [batch or 1, key]`` holds the groups of a key as bits; ``near_low``, ``near_high`` are offsets from the
    query's own key between which weights are summed, all within ``nearest`` and ``farthest``.
    """
    flat = tl.program_id(1).to(tl.int64)
    text, head = flat // heads, flat % heads
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside_rows = rows < queries
    channel = tl.arange(0, CHANNELS)
    query = tl.load(
        query_pointer + text * query_batch + head * query_head + rows[:, None] * query_row + channel[None, :],
        mask=inside_rows[:, None] & (channel < channels)[None, :],
        other=0.0,
    )
    key_base = key_pointer + text * key_batch + (head // group) * key_head

    highest = tl.full([ROWS], HIDDEN, tl.float32)
    lowest = tl.full([ROWS], float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    product = tl.zeros([ROWS], tl.float32)  # of exponential and score above the highest
    distance = tl.zeros([ROWS], tl.float32)
    strongest = tl.zeros([ROWS], tl.int32)
    group_number = tl.arange(0, GROUPS_PADDED)
    linear = tl.zeros([ROWS, GROUPS_PADDED], tl.float32)
    match_number = tl.arange(0, MATCHES_PADDED)
    matched = tl.zeros([ROWS, MATCHES_PADDED], tl.float32)
    met = tl.zeros([ROWS, MATCHES_PADDED], tl.int32)

    near_number = tl.arange(0, NEAR_PADDED)
    near = tl.zeros([ROWS, NEAR_PADDED], tl.float32)

    first = tl.program_id(0) * ROWS
    start = tl.maximum(0, first + lower) // COLS * COLS
    stop = tl.minimum(keys, first + ROWS + upper)
    for begin in range(start, stop, COLS):
        cols = begin + tl.arange(0, COLS)
        scores, seen = _scores(
            query, key_base, key_row, cols, channel, channels, text, head, rows, scaling, softcap,
            bias_pointer, bias_batch, bias_head, bias_row, mask_pointer, mask_batch, mask_head, mask_row,
            key_seen_pointer, query_segment_pointer, key_segment_pointer, queries, keys, lower, upper,
            HAS_SOFTCAP, HAS_BIAS, HAS_MASK, HAS_KEY_SEEN, HAS_SEGMENTS, PRECISION,
        )  # fmt: skip
        top = tl.max(scores, 1)
        strongest = tl.where(top > highest, begin + tl.argmax(scores, 1, tie_break_left=True), strongest)
        lowest = tl.minimum(lowest, tl.min(tl.where(seen, scores, float("inf")), 1))
        raised = tl.maximum(highest, top)
        shrink = tl.exp2(highest - raised)
        # Sums of e · (s - highest) move to the new highest by what all exponentials together weigh.
        product = shrink * (product + (highest - raised) * total)
        above = scores - raised[:, None]
        exponential = tl.where(seen, tl.exp2(above), 0.0)
        product += tl.sum(tl.where(seen, exponential * above, 0.0), 1)
        total = shrink * total + tl.sum(exponential, 1)
        steps = cols[None, :] - (rows + diagonal)[:, None]
        distance = shrink * distance + tl.sum(exponential * tl.abs(steps).to(tl.float32), 1)
        highest = raised
        if NEAR > 0:
            near = near * shrink[:, None]
            own = first + diagonal
            if (begin <= own + ROWS - 1 + farthest) & (begin + COLS - 1 >= own + nearest):
                for number in tl.static_range(NEAR):
                    inside = (steps >= tl.load(near_low_pointer + number)) & (
                        steps <= tl.load(near_high_pointer + number)
                    )
                    weight = tl.sum(tl.where(inside, exponential, 0.0), 1)
                    near += tl.where((near_number == number)[None, :], weight[:, None], 0.0)
        if GROUPS > 0:
            bits = tl.load(members_pointer + text * members_batch + cols, mask=cols < keys, other=0)
            linear = linear * shrink[:, None]
            for number in tl.static_range(GROUPS):
                is_member = ((bits >> number) & 1) != 0
                weight = tl.sum(tl.where(is_member[None, :], exponential, 0.0), 1)
                linear += tl.where((group_number == number)[None, :], weight[:, None], 0.0)
        if MATCHES > 0:
            matched = matched * shrink[:, None]
            for number in tl.static_range(MATCHES):
                place = number * batch + text
                of_query = tl.load(match_queries_pointer + place * queries + rows, mask=inside_rows, other=-1)
                of_key = tl.load(match_keys_pointer + place * keys + cols, mask=cols < keys, other=-2)
                among = tl.load(among_pointer + number)
                hit = (of_query[:, None] == of_key[None, :]) & (of_query >= 0)[:, None] & seen
                hit = hit & ((among == 0) | (steps < 0) | ((among == 1) & (steps > 0)))
                here = (match_number == number)[None, :]
                matched += tl.where(here, tl.sum(tl.where(hit, exponential, 0.0), 1)[:, None], 0.0)
                met += tl.where(here, tl.sum(hit.to(tl.int32), 1)[:, None], 0)

    sees = highest > HIDDEN / 2
    whole = total
    if HAS_SINKS:
        place = text * sinks_batch + head * sinks_head + rows * sinks_row
        sink = tl.load(sinks_pointer + place, mask=inside_rows, other=0.0)
        whole += tl.exp2(sink.to(tl.float32) * LOG2E - highest)
    safe = tl.where(sees, whole, 1.0)
    share = total / safe
    entropy = tl.maximum((tl.log2(safe) * share - product / safe) * LN2, 0.0)
    out = results_pointer + flat * queries + rows
    tl.store(out, tl.where(sees, highest + tl.log2(safe), float("inf")), mask=inside_rows)
    tl.store(out + flat_queries, tl.where(sees, entropy, 0.0), mask=inside_rows)
    tl.store(out + 2 * flat_queries, tl.where(sees, 1.0 / safe, 0.0), mask=inside_rows)
    tl.store(out + 3 * flat_queries, tl.where(sees, tl.exp2(lowest - highest) / safe, float("inf")), mask=inside_rows)
    tl.store(out + 4 * flat_queries, tl.where(sees, share, 0.0), mask=inside_rows)
    tl.store(out + 5 * flat_queries, strongest.to(tl.float32), mask=inside_rows)
    tl.store(
        out + 6 * flat_queries, tl.where(sees, distance / tl.where(sees, total, 1.0), float("nan")), mask=inside_rows
    )
    if GROUPS > 0:
        place = linear_pointer + group_number[None, :] * flat_queries + (flat * queries + rows)[:, None]
        valid = inside_rows[:, None] & (group_number < GROUPS)[None, :]
        tl.store(place, tl.where(sees[:, None], linear / safe[:, None], 0.0), mask=valid)
    if NEAR > 0:
        place = near_pointer + near_number[None, :] * flat_queries + (flat * queries + rows)[:, None]
        valid = inside_rows[:, None] & (near_number < NEAR)[None, :]
        tl.store(place, tl.where(sees[:, None], near / safe[:, None], 0.0), mask=valid)
    if MATCHES > 0:
        place = matches_pointer + match_number[None, :] * flat_queries + (flat * queries + rows)[:, None]
        valid = inside_rows[:, None] & (match_number < MATCHES)[None, :]
        tl.store(place, tl.where(met > 0, matched / safe[:, None], float("nan")), mask=valid)


@triton.jit
def column_kernel(
    query_pointer, query_batch, query_head, query_row,
    key_pointer, key_batch, key_head, key_row,
    bias_pointer, bias_batch, bias_head, bias_row,
    mask_pointer, mask_batch, mask_head, mask_row,
    key_seen_pointer, query_segment_pointer, key_segment_pointer,
    log_sum_pointer, valid_pointer, received_pointer,
    heads, group, queries, keys, channels,
    lower, upper, scaling, softcap,
    HAS_SOFTCAP: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr, HAS_KEY_SEEN: tl.constexpr,
    HAS_SEGMENTS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """What ``COLS`` keys of one head receive from all queries that count: ``received [batch * head, key]``."""
    flat = tl.program_id(1).to(tl.int64)
    text, head = flat // heads, flat % heads
    first = tl.program_id(0) * COLS
    cols = first + tl.arange(0, COLS)
    channel = tl.arange(0, CHANNELS)
    key_base = key_pointer + text * key_batch + (head // group) * key_head
    received = tl.zeros([COLS], tl.float32)
    start = tl.maximum(0, first - upper) // ROWS * ROWS
    stop = tl.minimum(queries, first + COLS - lower)
    for begin in range(start, stop, ROWS):
        rows = begin + tl.arange(0, ROWS)
        inside_rows = rows < queries
        query = tl.load(
            query_pointer + text * query_batch + head * query_head + rows[:, None] * query_row + channel[None, :],
            mask=inside_rows[:, None] & (channel < channels)[None, :],
            other=0.0,
        )
        scores, seen = _scores(
            query, key_base, key_row, cols, channel, channels, text, head, rows, scaling, softcap,
            bias_pointer, bias_batch, bias_head, bias_row, mask_pointer, mask_batch, mask_head, mask_row,
            key_seen_pointer, query_segment_pointer, key_segment_pointer, queries, keys, lower, upper,
            HAS_SOFTCAP, HAS_BIAS, HAS_MASK, HAS_KEY_SEEN, HAS_SEGMENTS, PRECISION,
        )  # fmt: skip
        counts = tl.load(valid_pointer + text * queries + rows, mask=inside_rows, other=0) != 0
        log_sum = tl.load(log_sum_pointer + flat * queries + rows, mask=inside_rows, other=float("inf"))
        weights = tl.where(seen & counts[:, None], tl.exp2(scores - log_sum[:, None]), 0.0)
        received += tl.sum(weights, 0)
    tl.store(received_pointer + flat * keys + cols, received, mask=cols < keys)
