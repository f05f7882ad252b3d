"""What keys receive, as a Triton kernel. Imports triton, so only :mod:`.launch` imports this.

It needs finished rows: with the log-sum of every query at hand, a weight is one product, one multiply-add and one
exponential. One program adds up what a run of keys receives, cell by cell, and sums the cells once at the end.
"""

# ruff: noqa: PLR0917
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

from attention_analyzer.weights.gpu.tiles import load_tile, scores_of, seen_of, whole_tiles


@triton.jit
def _received(
    key, query_base, begin, cols, flat, text, head, site, sizes, scale, log_sums, factors, factors_batch,
    edge: tl.constexpr, form: tl.constexpr,
):  # fmt: skip
    """``[key, query]``: the weights of one tile."""
    rows = begin + tl.arange(0, form.rows)
    query = load_tile(query_base, site.query.row, begin, sizes.queries, form.rows, edge, form)
    products = tl.dot(key, tl.trans(query), input_precision=form.precision)
    scores = scores_of(products, rows[None, :], cols[:, None], text, head, site, sizes, scale)
    log_sum = tl.load(log_sums + flat * sizes.queries + rows, mask=rows < sizes.queries, other=float("inf"))
    weights = tl.exp2(scores * scale.unit - log_sum[None, :])
    if edge:
        weights = tl.where(seen_of(rows[None, :], cols[:, None], text, head, site, sizes), weights, 0.0)
    if factors is not None:
        factor = tl.load(factors + text * factors_batch + rows, mask=rows < sizes.queries, other=0.0)
        weights = weights * factor[None, :]
    return weights


@triton.jit(do_not_specialize=["sizes"])
def column_kernel(site, sizes, scale, log_sums, factors, factors_batch, received, form: tl.constexpr):
    """``received [flat head, key]``: what a tile's keys of one head get from all queries that count.

    ``factors [batch or 1, query]``: how much each query counts; None: all the same.
    """
    flat = tl.program_id(1).to(tl.int64)
    text, head = flat // sizes.heads, flat % sizes.heads
    queries = sizes.queries
    first = tl.program_id(0) * form.cols  # the first keys of a causal text are seen by the most queries
    last = tl.minimum(first + form.cols, sizes.keys) - 1
    cols = first + tl.arange(0, form.cols)
    key_base = site.key.pointer + text * site.key.batch + (head // sizes.group) * site.key.head
    key = load_tile(key_base, site.key.row, first, sizes.keys, form.cols, True, form)
    query_base = site.query.pointer + text * site.query.batch + head * site.query.head
    cells = tl.zeros([form.cols, form.rows], tl.float32)
    # Seen from the keys, the band is turned around.
    low = None if sizes.upper is None else -sizes.upper
    high = None if sizes.lower is None else -sizes.lower
    start, whole, rest, stop = whole_tiles(first, last, low, high, queries, form.rows)
    if form.all_cells:
        whole, rest = stop, stop
    for begin in tl.range(start, whole, form.rows):
        cells += _received(
            key, query_base, begin, cols, flat, text, head, site, sizes, scale, log_sums,
            factors, factors_batch, True, form,
        )  # fmt: skip
    if not form.all_cells:
        for begin in tl.range(whole, rest, form.rows, num_stages=form.stages):
            cells += _received(
                key, query_base, begin, cols, flat, text, head, site, sizes, scale, log_sums,
                factors, factors_batch, False, form,
            )  # fmt: skip
        for begin in tl.range(rest, stop, form.rows):
            cells += _received(
                key, query_base, begin, cols, flat, text, head, site, sizes, scale, log_sums,
                factors, factors_batch, True, form,
            )  # fmt: skip
    tl.store(received + flat * sizes.keys + cols, tl.sum(cells, 1), mask=cols < sizes.keys)
