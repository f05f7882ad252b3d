"""Sufficient statistics of a fit: what is needed of texts to fit ``A ≈ U + Σ w (P - U)`` by least squares, as sums.

``A`` is a head's weights, ``U`` the same weight on every key that a query sees, ``P`` a rule's matrix. All is kept by
cell of queries (:mod:`.conditions`), so that programs with any conditions can be fitted afterwards without a matrix:

=========  =====================  =============================================================================
``gram``   ``[cell, rule, rule]``  ``Σ ⟨P_r - U, P_s - U⟩`` over the cell's queries; the same for all heads
``reach``  ``[cell, rule]``        queries for which the rule has a target; ``count [cell]``: queries
``cross``  ``[cell, head, rule]``  ``Σ ⟨A - U, P_r - U⟩``
``total``  ``[cell, head]``        ``Σ ‖A - U‖²``
=========  =====================  =============================================================================

A query without a target of a rule counts as if the rule were not there: its row of ``P - U`` is zero. Queries that see
one key only have no choice and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.programs.conditions import CELLS, cells_of
from attention_analyzer.programs.matrices import even_rows, row_blocks, rule_rows
from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.text_facts import RuleText
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.visibility import Visibility


@dataclass(frozen=True)
class Rows:
    """Some queries of one text at one layer.

    Attributes:
        run: which; ``choosing``: bool ``[row]``, those that see at least two keys.
        seen: bool ``[row, key]``; ``even``: the same weight on all of them.
        cells: int64 ``[row]``.
        rules: ``[rule, row, key]``.
    """

    run: slice
    choosing: Tensor
    seen: Tensor
    even: Tensor
    cells: Tensor
    rules: Tensor


class RowCache:
    """The rules' matrices of one text, made once for all layers that see the same; long texts' are made anew."""

    def __init__(self, text: RuleText, rules: Sequence[Rule]) -> None:
        self.text, self.rules = text, tuple(rules)
        self._made: dict[str, Rows] = {}

    def blocks(self, visibility: Visibility) -> Iterator[Rows]:
        """All queries, in runs that fit the memory held at once.

        Raises:
            UnsupportedModelError: the heads of a layer see different keys.
        """
        if visibility.differs_by_head:
            raise UnsupportedModelError("Heads of one layer see different keys here, which programs do not describe.")
        queries, keys = self.text.queries.size, self.text.keys.size
        runs = list(row_blocks(len(self.rules), queries, keys))
        name = view_name(visibility)
        for run in runs:
            if len(runs) > 1 or visibility.mask is not None or visibility.segments is not None:
                yield self._rows(run, visibility)
                continue
            if name not in self._made:
                self._made[name] = self._rows(run, visibility)
            yield self._made[name]

    def _rows(self, run: slice, visibility: Visibility) -> Rows:
        keys = self.text.keys.size
        found = visibility.seen(run, slice(0, keys), slice(0, 1), torch.device("cpu"))
        shape = (run.stop - run.start, keys)
        seen = torch.ones(shape, dtype=torch.bool) if found is None else found[0, 0].expand(shape)
        cells = self.text.once("cells", lambda: cells_of(self.text.queries))[run]
        rules = rule_rows(self.text, self.rules, run, seen)
        return Rows(run, seen.sum(-1) > 1, seen, even_rows(seen), cells, rules)


def view_name(visibility: Visibility) -> str:
    """Names what a layer sees, so that layers of like view share their ``gram``."""
    ends = f"{visibility.lower} {visibility.upper}"
    return ends + (" masked" if visibility.mask is not None or visibility.segments is not None else "")


def gram_of(cache: RowCache, visibility: Visibility) -> dict[str, Tensor]:
    """``gram``, ``reach`` and ``count`` of one text, float64."""
    rules = len(cache.rules)
    gram = torch.zeros(len(CELLS), rules, rules, dtype=torch.float64)
    reach, count = torch.zeros(len(CELLS), rules, dtype=torch.float64), torch.zeros(len(CELLS), dtype=torch.float64)
    for rows in cache.blocks(visibility):
        away, has_target = _away(rows)
        for cell in rows.cells[rows.choosing].unique().tolist():
            inside = (rows.cells == cell) & rows.choosing
            part = away[:, inside].flatten(1)
            gram[cell] += (part @ part.T).double()
            reach[cell] += has_target[:, inside].sum(-1).double()
            count[cell] += float(inside.sum())
    return {"gram": gram, "reach": reach, "count": count}


def cross_of(cache: RowCache, weights: AttentionWeights) -> dict[str, Tensor]:
    """``cross`` and ``total`` of one text at one layer, float64."""
    heads = weights.heads
    cross = torch.zeros(len(CELLS), heads, len(cache.rules), dtype=torch.float64)
    total = torch.zeros(len(CELLS), heads, dtype=torch.float64)
    for rows in cache.blocks(weights.visibility):
        away, _ = _away(rows)
        own = (weights.tile(0, slice(0, heads), rows.run).float().cpu() - rows.even) * rows.choosing[:, None]
        products = torch.bmm(own.transpose(0, 1), away.permute(1, 2, 0))
        cross.index_add_(0, rows.cells, products.double())
        total.index_add_(0, rows.cells, own.square().sum(-1).T.double())
    return {"cross": cross, "total": total}


def _away(rows: Rows) -> tuple[Tensor, Tensor]:
    """``P - U [rule, row, key]``, zero where a query has no target, and bool ``[rule, row]``, where it has one."""
    has_target = rows.rules.sum(-1) > 0
    return (rows.rules - rows.even) * has_target[..., None], has_target


def layer_key(site: Site, view: str) -> str:
    return f"{site.stack}|{site.kind}|{view}"
