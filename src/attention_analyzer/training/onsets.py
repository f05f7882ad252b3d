"""When heads acquired their roles: the step from which on a head shows a pattern, with an interval.

A head bears a role while its strength, corrected for its control (what chance or position alone would give; where there
is none, what the untrained model showed), is at or above the pattern's threshold. The onset is where that begins,
between two recorded steps interpolated on a logarithmic axis of steps. The interval reaches from the last step at which
the head surely did not bear the role to the first from which on it surely did; *surely* means by more than the error of
the strength: its spread over the probe texts (95 %), or, where that is not recorded, the scatter of the curve itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.errors import SelectionError
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.stats import t_quantile

if TYPE_CHECKING:
    from attention_analyzer.training.history import History

Floats = NDArray[np.float64]
#: Role to the columns that show it, the first that is there.
ROLES: dict[str, tuple[str, ...]] = {
    "induction": ("induction",),
    "previous_token": ("previous_token", "previous_weight"),
    "sink": ("first_token", "first_weight"),
}
THRESHOLDS = {pattern.name: pattern.threshold for pattern in PATTERNS}
#: For columns that are no pattern's.
_THRESHOLD = 0.5
#: Two-sided 95 % of Student's t with the three degrees of freedom that four probe texts leave.
_T = t_quantile(3)


def onsets(history: History, roles: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per head and role that it bears, or bore over two recorded steps and more.

    Args:
        roles: of :data:`ROLES`, or names of measured columns; all of :data:`ROLES` that were measured by default.

    Returns:
        ``role, stack, kind, layer, head``; ``onset`` with its interval ``low, high`` in steps (0 where the role was
        there from the beginning); ``strength`` at the last step, ``lost``, the step from which on the role was gone
        again (NaN if it was kept). Ordered by role and onset.

    Raises:
        SelectionError: a role was not measured.
    """
    chosen = [role for role in ROLES if column_of(history, role)] if roles is None else list(roles)
    rows = []
    for role in chosen:
        column = column_of(history, role)
        if column is None:
            raise SelectionError(
                f"The history has no {role!r}; roles are {', '.join(ROLES)}, or measured columns: "
                f"{', '.join(history.columns)}."
            )
        strength, corrected, error = evidence(history, column)
        steps = np.array(strength.index, float)
        for head in strength.columns:
            found = onset_of(steps, corrected[head].to_numpy(), error[head].to_numpy(), threshold_of(column))
            if found is not None:
                last = float(strength[head].iloc[-1])
                rows.append((role, *head, found[0], found[1], found[2], last, found[3]))
    names = ["role", "stack", "kind", "layer", "head", "onset", "low", "high", "strength", "lost"]
    table = pd.DataFrame(rows, columns=names)
    table["role"] = pd.Categorical(table["role"], chosen)
    table = table.sort_values(["role", "onset", "layer", "head"], kind="stable", ignore_index=True)
    return table.astype({"role": str, "onset": float, "low": float, "high": float, "strength": float, "lost": float})


def threshold_of(column: str) -> float:
    """From which corrected strength on a head bears the role."""
    return THRESHOLDS.get(column, _THRESHOLD)


def column_of(history: History, role: str) -> str | None:
    """The measured column that shows a role, None where there is none."""
    return next((name for name in ROLES.get(role, (role,)) if name in history.columns), None)


def evidence(history: History, column: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Strength, corrected strength and the error of both, each ``[step, head]``."""
    strength = history.wide(column)
    control = f"{column}_control"
    if control in history.table.columns:
        base = history.wide(control).clip(lower=0, upper=0.99)
    else:
        untrained = strength.iloc[0] if strength.index[0] == 0 else strength.iloc[0] * 0
        base = pd.DataFrame(np.tile(untrained.clip(0, 0.99), (len(strength), 1)), strength.index, strength.columns)
    corrected = (strength - base.fillna(0)) / (1 - base.fillna(0))
    name = f"{column}_error"
    if name in history.table.columns:
        error = history.wide(name) * _T / (1 - base.fillna(0))
    else:
        error = pd.DataFrame(
            np.tile(_scatter(corrected.to_numpy()), (len(corrected), 1)), strength.index, strength.columns
        )
    return strength, corrected, error.fillna(0)


def onset_of(
    steps: Floats, corrected: Floats, error: Floats, threshold: float
) -> tuple[float, float, float, float] | None:
    """Onset, low, high and lost (NaN if kept) of one head's role; None if it never bore one.

    Args:
        steps, corrected, error: ``[moment]``.
    """
    bears = np.nan_to_num(corrected, nan=-1.0) >= threshold
    ends = np.flatnonzero(np.diff(np.r_[bears, False].astype(int)) == -1)
    for end in ends[::-1]:
        start = end
        while start > 0 and bears[start - 1]:
            start -= 1
        kept = end == len(steps) - 1
        if kept or end > start:
            break
    else:
        return None
    lost = np.nan if kept else float(steps[end + 1])
    surely_not = np.flatnonzero((corrected + error < threshold)[: start + 1])
    low = float(steps[surely_not[-1]]) if len(surely_not) else float(steps[0])
    unsure = np.flatnonzero(~(corrected - error >= threshold)[start : end + 1])
    first_sure = start + (int(unsure[-1]) + 1 if len(unsure) else 0)
    high = float(steps[min(first_sure, end)])
    if start == 0:
        return float(steps[0]), float(steps[0]), max(high, float(steps[0])), lost
    before, after = corrected[start - 1], corrected[start]
    share = (threshold - before) / (after - before) if np.isfinite(before) else 1.0
    places = np.log1p(steps[[start - 1, start]])
    onset = float(np.expm1(places[0] + share * (places[1] - places[0])))
    return onset, min(low, float(steps[start - 1])), high, lost


def _scatter(values: Floats) -> Floats:
    """Twice the standard deviation of what a curve does between its neighbors, robustly; ``[head]``."""
    if len(values) < 3:
        return np.zeros(values.shape[1])
    bends = values[1:-1] - (values[:-2] + values[2:]) / 2
    # The median of absolute values is 0.6745 standard deviations; a bend has 1.5 times the variance of a value.
    return 2 * np.nan_to_num(np.nanmedian(np.abs(bends), axis=0)) / 0.6745 / np.sqrt(1.5)
