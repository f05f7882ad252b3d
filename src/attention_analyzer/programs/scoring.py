"""How well programs foretell the weights of texts that they were not fitted on, text by text, beside controls.

Of two rows ``a`` and ``p`` (the head's and the program's), per query:

* *overlap* ``Σ min(a, p)``: the share of the head's weight that lies where the program puts it, 1 minus the total
  variation. It is divided among the program's terms by what each puts there, so that shares and the rest sum to one.
* *IoU* ``Σ min(a, p) / Σ max(a, p)``: intersection over union of the weights themselves, over all queries of a text.
* *JS*: the root of the Jensen–Shannon divergence in bits, 0 to 1 (Endres & Schindelin 2003).
* *R²* ``1 - Σ ‖a - p‖² / Σ ‖a - u‖²`` against weights spread evenly.

The controls are overlaps of the same weights with rows that should explain less: spread evenly, the program on the
text's words in another order, and the program of another head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.inputs import Prepared
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.programs.evidence import RowCache, Rows
from attention_analyzer.programs.program import Program
from attention_analyzer.programs.registry import RULE_OF
from attention_analyzer.programs.study import FittedPrograms
from attention_analyzer.programs.text_facts import RuleText
from attention_analyzer.run.state import State
from attention_analyzer.run.study import Measure, MeasuredBatch, Study
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights

#: What is kept of every text and head, beside ``shares [text, head, term]``; the last of these belongs to spreading
#: evenly what the terms leave.
MEASURES = ("overlap", "intersection", "union", "js", "error", "total", "even", "shuffled", "other")
_Kept = dict[str, np.ndarray[Any, np.dtype[np.float64]]]


@dataclass(frozen=True)
class ProgramScores(Study[State]):
    """Scores of fitted programs; the result is the state, one row per text and site."""

    fitted: FittedPrograms
    seed: int = 0

    @property
    def settings(self) -> str:
        return repr(("program scores", self.fitted.programs, self.seed))

    def measuring(self, loaded: LoadedModel, prepared: Prepared) -> Measure:
        scorer = _Scorer(self.fitted, self.seed)

        def measure(
            stack: str, kind: Kind, weights: AttentionWeights
        ) -> list[tuple[AttentionWeights, RowCache, RowCache]]:
            queries, keys = prepared.axes(stack, kind)
            return [
                (
                    weights.select(number, slice(0, len(own)), slice(0, len(other))),
                    *scorer.rows(stack, kind, number, own, other, None if kind == "cross" else 0),
                )
                for number, (own, other) in enumerate(zip(queries, keys, strict=True))
            ]

        return measure

    def take(self, loaded: LoadedModel, batch: MeasuredBatch) -> State:
        if batch.prepared is None:
            return State.merge([self.of_record(record) for record in batch.records])
        scorer = _Scorer(self.fitted, self.seed)
        return _state(
            len(batch.numbers), [(site, [scorer.score(site, *part) for part in parts]) for site, parts in batch.sites]
        )

    def of_record(self, record: CapturedAttention) -> State:
        """The state of one text."""
        scorer = _Scorer(self.fitted, self.seed)
        found = []
        for entry in record.entries:
            rows = scorer.rows(entry.site.stack, entry.site.kind, 0, entry.queries, entry.keys, entry.diagonal)
            found.append((entry.site, [scorer.score(entry.site, entry.weights, *rows)]))
        return _state(1, found)

    def result(self, loaded: LoadedModel, state: State) -> State:
        return state


class _Scorer:
    def __init__(self, fitted: FittedPrograms, seed: int) -> None:
        self.fitted, self.seed = fitted, seed
        self.names = tuple(
            dict.fromkeys(rule.name for heads in fitted.programs.values() for each in heads for rule in each.rules)
        )
        self.rules = [RULE_OF[name] for name in self.names]
        self._rows: dict[tuple[str, Kind, int], tuple[RowCache, RowCache]] = {}
        self.others = exchanged(fitted, seed)

    def rows(
        self, stack: str, kind: Kind, text: int, queries: Tokens, keys: Tokens, diagonal: int | None
    ) -> tuple[RowCache, RowCache]:
        """The rules' matrices of a text, and of its words in another order."""
        at = (stack, kind, text)
        if at not in self._rows:
            axes = RuleText.of(queries, keys, diagonal)
            self._rows[at] = RowCache(axes, self.rules), RowCache(axes.shuffled(self.seed), self.rules)
        return self._rows[at]

    def score(self, site: Site, weights: AttentionWeights, own: RowCache, shuffled: RowCache) -> _Kept:
        programs, others = self.fitted.programs[site], self.others[site]
        terms = max((len(program.terms) for heads in self.fitted.programs.values() for program in heads), default=0)
        kept = {name: np.zeros(site.heads) for name in MEASURES} | {"shares": np.zeros((site.heads, terms + 1))}
        queries = 0
        for rows, moved in zip(own.blocks(weights.visibility), shuffled.blocks(weights.visibility), strict=True):
            if not bool(rows.choosing.any()):
                continue
            queries += int(rows.choosing.sum())
            tile = weights.tile(0, slice(0, site.heads), rows.run).float().cpu()
            # A head with a sink gives away part of a row; programs say where the rest goes.
            tile = tile / tile.sum(-1, keepdim=True).clamp(min=1e-12)
            self._add(kept, tile, rows, moved, programs, others)
        for name in ("overlap", "js", "even", "shuffled", "other", "shares"):
            kept[name] = kept[name] / queries if queries else np.full_like(kept[name], np.nan)
        return kept

    def _add(
        self, kept: _Kept, tile: Tensor, rows: Rows, moved: Rows, programs: Sequence[Program], others: Sequence[Program]
    ) -> None:
        counts = rows.choosing

        def mixed(chosen: Sequence[Program], of: Rows) -> Tensor:
            """``[head, row, key]``."""
            share = torch.stack([each.weights(of.cells, self.names) for each in chosen]) * (of.rules.sum(-1) > 0)
            found = torch.bmm(share.permute(2, 0, 1), of.rules.transpose(0, 1)).transpose(0, 1)
            return found + (1 - share.sum(1)).clamp(min=0)[..., None] * of.even

        def put(name: str, values: Tensor) -> None:
            kept[name] += values[:, counts].double().sum(-1).numpy()

        program = mixed(programs, rows)
        least = torch.minimum(tile, program)
        put("overlap", least.sum(-1))
        put("intersection", least.sum(-1))
        put("union", torch.maximum(tile, program).sum(-1))
        put("js", _js(tile, program))
        put("error", (tile - program).square().sum(-1))
        put("total", (tile - rows.even).square().sum(-1))
        put("even", torch.minimum(tile, rows.even).sum(-1))
        put("shuffled", torch.minimum(tile, mixed(programs, moved)).sum(-1))
        put("other", torch.minimum(tile, mixed(others, rows)).sum(-1))
        ratio = least / program.clamp(min=1e-12)
        for head, each in enumerate(programs):
            left = least[head].sum(-1)
            for place, term in enumerate(each.terms):
                share = Program((term,)).weights(rows.cells, [term.rule])[0]
                part = share * (ratio[head] * rows.rules[self.names.index(term.rule)]).sum(-1)
                kept["shares"][head, place] += float(part[counts].sum())
                left = left - part
            kept["shares"][head, -1] += float(left[counts].sum())


def exchanged(fitted: FittedPrograms, seed: int) -> dict[Site, tuple[Program, ...]]:
    """For every head the program of another head of its stack and kind, drawn by the seed."""
    found: dict[Site, tuple[Program, ...]] = {}
    draws = torch.Generator().manual_seed(seed)
    for place in dict.fromkeys((site.stack, site.kind) for site in fitted.sites):
        sites = [site for site in fitted.sites if (site.stack, site.kind) == place]
        programs = [program for site in sites for program in fitted.programs[site]]
        order = torch.randperm(len(programs), generator=draws).tolist()
        # One cycle through all heads: nobody keeps its own.
        given = {own: programs[other] for own, other in zip(order, order[1:] + order[:1], strict=True)}
        start = 0
        for site in sites:
            found[site] = tuple(given[start + head] for head in range(site.heads))
            start += site.heads
    return found


def _js(one: Tensor, two: Tensor) -> Tensor:
    middle = (one + two) / 2

    def entropy(rows: Tensor) -> Tensor:
        return torch.special.entr(rows).sum(-1)

    divergence = (entropy(middle) - (entropy(one) + entropy(two)) / 2) / np.log(2)
    return divergence.clamp(min=0).sqrt()


def _state(texts: int, found: Iterable[tuple[Site, list[_Kept]]]) -> State:
    arrays, sites = {}, []
    for site, parts in found:
        sites.append(site)
        for name in (*MEASURES, "shares"):
            arrays[f"{name}/{site.name}"] = np.stack([part[name] for part in parts])
    return State(texts, tuple(sites), arrays)
