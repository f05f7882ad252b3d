"""What patching brought back, as a result that prints, has a table and is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from attention_analyzer.result import Result
from attention_analyzer.text.tokens import Tokens


@dataclass(frozen=True, repr=False)
class Patching(Result):
    """A corrupted run with activations of a clean one, one at a time.

    Attributes:
        table: one row per patch: ``component``, where it is (``layer, head``, or ``layer, position, token`` of the
            residual stream), the metric's ``value``, and ``recovered``: 0 is the corrupted run, 1 the clean one. Of an
            approximation also ``estimate``, in the same unit; heads that were not patched exactly have NaN there.
        what: what was patched; ``into``: the head whose path it was, "" for all paths.
        clean, corrupted: the metric of the two runs; ``metric``: its name.
        tokens: of the clean text; ``differ``: positions at which the two texts differ.
    """

    table: pd.DataFrame = field(compare=False)
    what: str
    clean: float
    corrupted: float
    metric: str
    into: str
    tokens: Tokens = field(compare=False)
    differ: tuple[int, ...]
    approximate: bool = False
    model_name: str = ""

    @property
    def column(self) -> str:
        """The column that has a number for every row."""
        return "estimate" if self.approximate else "recovered"

    @property
    def error(self) -> tuple[int, float, float] | None:
        """Of an approximation: heads patched exactly, the mean absolute error there, and the largest."""
        if not self.approximate:
            return None
        exact = self.table.dropna(subset=["recovered"])
        apart = (exact["recovered"] - exact["estimate"]).abs()
        return len(exact), float(apart.mean()), float(apart.max())

    def facts(self) -> tuple[str, ...]:
        top = self.to_frame().head(3)
        where = top["component"] if "position" not in top else top["component"] + " " + top["token"].map(repr)
        named = ", ".join(f"{name} {value:+.2f}" for name, value in zip(where, top[self.column], strict=True))
        path = f" on the path into {self.into}" if self.into else ""
        lines = [
            f"{self.metric}: {self.clean:.4f} clean, {self.corrupted:.4f} corrupted",
            f"{len(self.table)} {self.what} patched{path}; largest recovered fractions: {named}",
        ]
        if self.error is not None:
            count, mean, most = self.error
            lines[1] = f"estimates of {len(self.table)} {self.what}; the largest: {named}"
            lines.append(f"{count} of them patched exactly: mean error {mean:.3f}, largest {most:.3f}")
        return tuple(lines)

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`, what changed the metric most first."""
        order = self.table[self.column].abs().sort_values(ascending=False, kind="stable").index
        return self.table.loc[order].reset_index(drop=True)
