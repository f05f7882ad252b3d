"""What every head does, in a sentence, with how much of its weight the sentence explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from attention_analyzer.errors import SelectionError
from attention_analyzer.programs.program import Program, sentence
from attention_analyzer.programs.study import FittedPrograms
from attention_analyzer.result import Basis, Result
from attention_analyzer.run.state import State
from attention_analyzer.site import Site, from_end, head_rows, is_layer
from attention_analyzer.stats import Floats, benjamini_hochberg, bootstrap_interval, mean_over_texts, p_above

LEVEL = 0.05
#: A head less of which is explained has no program.
EXPLAINED = 0.5


@dataclass(frozen=True, repr=False)
class HeadPrograms(Result):
    """Every head's program, scored on texts that it was not fitted on.

    Attributes:
        table: one row per head: ``stack, kind, layer, head``, ``explained`` (the mean overlap with the program, over
            texts) with its 95 % interval ``low, high``, ``r2``, ``iou`` and ``js`` (see :mod:`.scoring`), the overlaps
            ``even``, ``shuffled`` and ``other`` of the controls, ``corrected`` (``(explained - even) / (1 - even)``),
            ``untrained`` (the largest of that among an untrained model's heads with their own programs; NaN where none
            was asked for), ``q`` (p that corrected is not above it, or above 0; adjusted over all heads), ``above``
            (whether it is), ``unexplained`` and ``sentence``.
        terms: one row per head and term: ``condition, rule, weight`` and the ``share`` of the head's weight that it
            explains; spreading evenly what terms leave is the last, with the rule "evenly".
        fitted: the programs, for :func:`.replace.replace_by_program`.
        fitted_on, scored_on: numbers of texts.
        by_text: ``explained`` by text, ``[text, head]`` in the order of the table.
    """

    table: pd.DataFrame = field(compare=False)
    terms: pd.DataFrame = field(compare=False)
    fitted: FittedPrograms
    fitted_on: int
    scored_on: int
    by_text: Floats = field(repr=False, compare=False)
    model_name: str = ""

    def basis(self) -> Basis:
        return Basis(self.scored_on)

    def facts(self) -> tuple[str, ...]:
        explained = self.table["explained"]
        named = int((self.table["above"] & (explained >= EXPLAINED)).sum())
        return (
            f"{len(self.table)} heads; fitted on {self.fitted_on} texts, scored on {self.scored_on} others",
            f"median explained {explained.median():.0%}, IoU {self.table['iou'].median():.2f}",
            f"{named} heads are explained by at least {EXPLAINED:.0%}, and by more than evenly spread weights",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table

    def of(self, layer: int, head: int, *, stack: str | None = None, kind: str | None = None) -> Program:
        """One head's program; negative numbers count from the end.

        Raises:
            SelectionError: there is no such head.
        """
        for site, programs in self.fitted.programs.items():
            if (
                is_layer(site, layer, self.fitted.programs)
                and stack in (None, site.stack)
                and kind in (None, site.kind)
                and from_end(head, site.heads) >= 0
            ):
                return programs[head]
        raise SelectionError(f"There is no head L{layer}H{head} here; the table lists all that have a program.")

    def sentence(self, layer: int, head: int) -> str:
        """One head's sentence; negative numbers count from the end."""
        found = head_rows(self.table, layer, head)
        if found.empty:
            raise SelectionError(f"There is no head L{layer}H{head} here; the table lists all that have a program.")
        return str(found["sentence"].iloc[0])


def scored(fitted: FittedPrograms, state: State, untrained: State | None) -> HeadPrograms:
    """The result, from the scores of the fitted programs and, as a control, of an untrained model's own programs."""
    frames, terms, by_text = [], [], []
    for site in state.sites:
        values = {name.split("/")[0]: array for name, array in state.arrays.items() if name.split("/")[1] == site.name}
        low, high = bootstrap_interval(values["overlap"])
        best = np.full(site.heads, np.nan)
        if untrained is not None:
            best = np.full(site.heads, _largest(untrained))
        corrected = _corrected(values["overlap"], values["even"])
        means = {name: mean_over_texts(values[name]) for name in ("overlap", "js", "even", "shuffled", "other")}
        shares = np.stack(
            [mean_over_texts(values["shares"][..., place]) for place in range(values["shares"].shape[-1])], 1
        )
        programs = fitted.programs[site]
        told = [_told(programs[head], shares[head], means["overlap"][head]) for head in range(site.heads)]
        frames.append(
            pd.DataFrame(
                {"stack": site.stack, "kind": site.kind, "layer": site.layer, "head": range(site.heads)}
                | {"explained": means["overlap"], "low": low, "high": high}
                | {
                    "r2": 1 - _ratio(values["error"], values["total"]),
                    "iou": _ratio(values["intersection"], values["union"]),
                }
                | {name: means[name] for name in ("js", "even", "shuffled", "other")}
                | {"corrected": mean_over_texts(corrected), "untrained": best}
                | {"p": p_above(corrected, float(np.nan_to_num(best[0])))}
                | {"unexplained": 1 - means["overlap"], "sentence": told}
            )
        )
        terms += _term_rows(site, programs, shares)
        by_text.append(values["overlap"])
    table = pd.concat(frames, ignore_index=True)
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    has_terms = np.array([bool(program.terms) for site in state.sites for program in fitted.programs[site]])
    table["above"] = (table["q"] <= LEVEL) & has_terms
    columns = [
        *table.columns.drop(["p", "q", "above", "unexplained", "sentence"]),
        "q",
        "above",
        "unexplained",
        "sentence",
    ]
    return HeadPrograms(
        table[columns],
        pd.DataFrame(terms, columns=["stack", "kind", "layer", "head", "condition", "rule", "weight", "share"]),
        fitted,
        fitted.texts,
        state.texts,
        np.concatenate(by_text, 1),
        fitted.model_name,
    )


def _corrected(explained: Floats, even: Floats) -> Floats:
    """0 is what spreading evenly explains, 1 all there is (as Cohen's κ)."""
    return np.where(even < 1 - 1e-6, (explained - even) / np.maximum(1 - even, 1e-6), 0.0)


def _largest(untrained: State) -> float:
    """Corrected, of the heads of an untrained model that have a program at all."""
    found = [0.0]
    for site in untrained.sites:
        overlap, even = (untrained.arrays[f"{name}/{site.name}"] for name in ("overlap", "even"))
        found.append(float(np.nanmax(mean_over_texts(_corrected(overlap, even)))))
    return max(found)


def _told(program: Program, shares: Floats, explained: float) -> str:
    if np.isnan(explained):
        return "no text let it choose"
    return sentence(program, shares[: len(program.terms)].tolist(), float(shares[-1]), 1 - float(explained))


def _ratio(above: Floats, below: Floats) -> Floats:
    top, bottom = np.nansum(above, 0), np.nansum(below, 0)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _term_rows(site: Site, programs: Sequence[Program], shares: Floats) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for head, program in enumerate(programs):
        place = (site.stack, site.kind, site.layer, head)
        rows += [
            (*place, term.condition, term.rule, term.weight, shares[head, number])
            for number, term in enumerate(program.terms)
        ]
        rows.append((*place, "always", "evenly", np.nan, shares[head, -1]))
    return rows
