"""Composition scores, as a result that prints, has a table and is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from attention_analyzer.result import Result


@dataclass(frozen=True, repr=False)
class Compositions(Result):
    """How strongly what heads write meets what later heads read, from the weights alone.

    Attributes:
        table: one row per pair of heads and input: ``sender, receiver, input`` ("query", "key" or "value"), ``score``
            from 0 to 1; ``baseline``, the mean score of heads with the same singular values between which the stream
            is turned at random, and ``high``, the 97.5 % quantile of it.
        width: of the stream.
    """

    table: pd.DataFrame = field(compare=False)
    width: int
    model_name: str = ""

    def facts(self) -> tuple[str, ...]:
        above = float((self.table["score"] > self.table["high"]).mean())
        lines = [f"{len(self.table)} scores; {above:.0%} above what chance gives (2.5 %)"]
        for name, part in self.table.groupby("input", sort=False):
            best = part.loc[(part["score"] - part["baseline"]).idxmax()]
            lines.append(
                f"{name}: {best['sender']} → {best['receiver']} {best['score']:.3f} (chance {best['baseline']:.3f})"
            )
        return tuple(lines)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`, the scores farthest above their baseline first."""
        order = (self.table["score"] - self.table["baseline"]).sort_values(ascending=False, kind="stable").index
        return self.table.loc[order].reset_index(drop=True)
