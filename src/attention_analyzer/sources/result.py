"""Where an answer came from, as a result."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from attention_analyzer.result import Result
from attention_analyzer.text.parts import Parts


@dataclass(frozen=True, repr=False)
class Sources(Result):
    """The parts of a prompt, ranked by how much the answer rests on them.

    Attributes:
        answer: the answer; ``is_given`` says whether it was given or written by the model.
        log_probability: of the answer, in nats; ``without_any``, the same without all candidates.
        parts: of the prompt.
        table: one row per candidate, best first: ``part``, ``role`` ("source", "against" or ""), ``score`` with the
            95 % interval ``low`` to ``high`` by the recommended method (NaN where the method is exact for this text),
            one column per method, ``tokens`` and ``text``.
        methods: one row per method: ``method``, ``lds``, ``random_lds``, ``drop``, ``random_drop``, ``holds``,
            ``forwards``; see :class:`.sources.judge.Judgment`.
        recommended: the method that predicts removals best on this text; "" if none is better than random parts.
        none: whether no candidate moves the answer.
        contradictions: one sentence per part that speaks against the answer.
        notes: what else the reader should know.
    """

    answer: str
    is_given: bool
    log_probability: float
    without_any: float
    parts: Parts
    table: pd.DataFrame = field(compare=False)
    methods: pd.DataFrame = field(compare=False)
    recommended: str
    none: bool
    contradictions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    model_name: str = ""

    def to_frame(self) -> pd.DataFrame:
        return self.table

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that the answer comes from, best first; empty where none moves it."""
        return tuple(self.table.loc[self.table["role"] == "source", "part"])

    @property
    def best(self) -> str:
        """The part that the answer rests on most; "" where none moves it."""
        return "" if self.none else str(self.table["part"].iloc[0])

    def facts(self) -> tuple[str, ...]:
        shown = " ".join(self.answer.split())
        probability = f"log-probability {self.log_probability:.2f}, {self.without_any:.2f} without any of the parts"
        facts = [f"answer: {shown[:60]!r} ({probability})"]
        if self.none:
            facts.append(f"none of the {len(self.table)} parts moves the answer")
        else:
            best = self.table.iloc[0]
            interval = "" if pd.isna(best["low"]) else f" [{best['low']:.2f}, {best['high']:.2f}]"
            by = self.recommended or "the largest drop by removal; no method is better than random parts"
            facts.append(f"most from {best['part']}: {best['score']:.2f}{interval} by {by}")
        return (*facts, *(sentence[:160] for sentence in self.contradictions[:2]), *self.notes[:1])
