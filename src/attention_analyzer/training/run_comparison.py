"""Two trainings beside each other.

Heads of two runs correspond by their place only if both began with the same weights, so what is compared is what places
do not matter for: when roles appeared and how many heads bear them, and the entropy of each layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from attention_analyzer.errors import InputError
from attention_analyzer.result import Result
from attention_analyzer.training.onsets import ROLES, column_of

if TYPE_CHECKING:
    from attention_analyzer.training.history import History


@dataclass(frozen=True, repr=False)
class RunComparison(Result):
    """What differs between two histories.

    Attributes:
        names: of the two runs.
        roles: one row per role: of each run the heads that bear it at the end (``heads_1``, ``heads_2``), the first
            onset with its interval (``onset_1, low_1, high_1`` …), ``ratio`` of the onsets (second to first, in steps),
            and ``differ``: whether the two intervals do not overlap.
        entropy: mean entropy by layer at steps that both runs cover, second minus first: steps down,
            ``(stack, kind, layer)`` across; between recorded steps interpolated on a logarithmic axis.
    """

    first: History = field(repr=False)
    second: History = field(repr=False)
    names: tuple[str, str]
    roles: pd.DataFrame
    entropy: pd.DataFrame

    @classmethod
    def of(cls, first: History, second: History, names: tuple[str, str] | None = None) -> RunComparison:
        """Compare two histories.

        Raises:
            InputError: they have no steps in common.
        """
        names = names or ("first run", "second run")
        shared = [role for role in ROLES if column_of(first, role) and column_of(second, role)]
        return cls(first, second, names, _roles(first, second, shared), _entropy(first, second))

    def __str__(self) -> str:
        lines = []
        for row in self.roles.itertuples(index=False):
            parts = [
                f"{name}: {_when(getattr(row, f'onset_{n}'), getattr(row, f'low_{n}'), getattr(row, f'high_{n}'))}, "
                f"{getattr(row, f'heads_{n}')} heads at the end"
                for n, name in enumerate(self.names, start=1)
            ]
            verdict = " The intervals do not overlap." if row.differ else ""
            lines.append(f"{str(row.role).replace('_', ' ').capitalize()}: {'; '.join(parts)}.{verdict}")
        if len(self.entropy):
            last = self.entropy.iloc[-1]
            place = last.abs().idxmax()
            step = self.entropy.index[-1]
            lines.append(f"At step {step:,} layer {place[2]} differs most in entropy, by {last[place]:+.3g} nats.")
        return "\n".join(lines)

    def facts(self) -> tuple[str, ...]:
        return tuple(str(self).splitlines())

    def to_frame(self) -> pd.DataFrame:
        """:attr:`roles`."""
        return self.roles

    @property
    def subject(self) -> str:
        return " and ".join(self.names)


def _roles(first: History, second: History, roles: list[str]) -> pd.DataFrame:
    tables = [history.onsets(roles) for history in (first, second)]
    rows = []
    for role in roles:
        row: dict[str, object] = {"role": role}
        ends = []
        for number, table in enumerate(tables, start=1):
            part = table[table["role"] == role]
            row[f"heads_{number}"] = int(part["lost"].isna().sum())
            values = part.iloc[0][["onset", "low", "high"]].tolist() if len(part) else [np.nan] * 3
            row |= dict(zip((f"onset_{number}", f"low_{number}", f"high_{number}"), values, strict=True))
            ends.append(values)
        (onset_1, low_1, high_1), (onset_2, low_2, high_2) = ends
        row["ratio"] = onset_2 / onset_1 if onset_1 else np.nan
        row["differ"] = bool(high_1 < low_2 or high_2 < low_1)
        rows.append(row)
    return pd.DataFrame(rows)


def _entropy(first: History, second: History) -> pd.DataFrame:
    if "entropy" not in first.columns or "entropy" not in second.columns:
        return pd.DataFrame()
    one, two = first.entropy_by_layer(), second.entropy_by_layer()
    low, high = max(one.index[0], two.index[0]), min(one.index[-1], two.index[-1])
    steps = sorted(step for step in {*one.index, *two.index} if low <= step <= high)
    if not steps:
        raise InputError(
            f"The histories have no steps in common: one covers {one.index[0]:,} to {one.index[-1]:,}, the other "
            f"{two.index[0]:,} to {two.index[-1]:,}."
        )
    shared = [layer for layer in one.columns if layer in two.columns]
    at = np.log1p(steps)
    return pd.DataFrame(
        {
            layer: np.interp(at, np.log1p(two.index), two[layer]) - np.interp(at, np.log1p(one.index), one[layer])
            for layer in shared
        },
        index=pd.Index(steps, name="step"),
    )


def _when(onset: float, low: float, high: float) -> str:
    return "never" if np.isnan(onset) else f"step {onset:,.0f} ({low:,.0f} to {high:,.0f})"
