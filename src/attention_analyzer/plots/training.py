"""Figures of a history: roles, entropy and loss over the steps; two runs; a number of all heads at one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attention_analyzer.errors import SelectionError
from attention_analyzer.plots.style import BLUE, FAINT, INK, ORANGE, color_bar, finish, heading
from attention_analyzer.training.onsets import ROLES, column_of, evidence, threshold_of
from attention_analyzer.view.canvas import new_figure
from attention_analyzer.view.figures import grid_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.site import Kind
    from attention_analyzer.training.history import History
    from attention_analyzer.training.run_comparison import RunComparison

_OTHERS = "#c3c8d0"
#: Heads that bear a role, in the order of their onset; more heads share the last color.
_BEARERS = ("#b3261e", "#d9762b", "#2f6db3", "#2e7d4f", "#7a4fa3", "#5b6472")
_RUNS = (BLUE, ORANGE)


def history_figure(history: History, roles: Sequence[str] | None = None) -> Figure:
    """One panel per role with every head's strength and the onsets, then layer-wise entropy and the loss."""
    shown = [role for role in ROLES if column_of(history, role)] if roles is None else list(roles)
    found = history.onsets(shown)
    parts = [*shown, *(["entropy"] if "entropy" in history.columns else []), *(["loss"] if len(history.loss) else [])]
    figure = new_figure((8.6, 0.6 + 1.75 * len(parts)))
    panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    for axes, part in zip(panels, parts, strict=True):
        if part in shown:
            _role(axes, history, part, found[found["role"] == part])
        elif part == "entropy":
            _entropy(axes, history)
        else:
            axes.plot(_at(history.loss.index), history.loss, color=INK, linewidth=1.4)
            _finish(axes, "loss", "nats per token" if history.loss.max() < 20 else "")
    _steps(panels[-1], history.steps)
    heading(figure, f"{history.model_name}  attention over training")
    return figure


def runs_figure(runs: RunComparison) -> Figure:
    """The strongest head of each role, and the mean entropy, of two runs over the steps."""
    parts = [*runs.roles["role"], *(["entropy"] if len(runs.entropy) else [])]
    figure = new_figure((8.6, 0.8 + 1.8 * len(parts)))
    panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    for axes, part in zip(panels, parts, strict=True):
        row = runs.roles[runs.roles["role"] == part]
        for number, (history, name, color) in enumerate(
            zip((runs.first, runs.second), runs.names, _RUNS, strict=True), start=1
        ):
            if part == "entropy":
                curve = history.wide("entropy").mean(axis=1)
            else:
                curve = history.wide(str(column_of(history, part))).max(axis=1)
                low, high = (float(row[f"{end}_{number}"].iloc[0]) for end in ("low", "high"))
                if low == low:  # noqa: PLR0124 (NaN is not itself)
                    axes.axvspan(*_at([low, high]), color=color, alpha=0.16, linewidth=0)
            axes.plot(_at(curve.index), curve, color=color, linewidth=1.6, label=name)
        if part == "entropy":
            _finish(axes, "entropy, mean over all heads", "nats")
        else:
            axes.set_ylim(-0.03, 1.03)
            _finish(axes, f"{_named(part)}: the strongest head; shaded: onset of the role", "strength")
    panels[0].legend(fontsize=8, frameon=False, loc="upper left")
    _steps(panels[-1], sorted({*runs.first.steps, *runs.second.steps}))
    return figure


def head_map(
    history: History, step: int, column: str = "entropy", *, stack: str | None = None, kind: Kind | None = None
) -> Figure:
    """A number of all heads at one recorded step, layer × head.

    Raises:
        SelectionError: the step or the number was not recorded, or there is no such stack or kind.
    """
    table = history.at(step)
    if column not in history.columns:
        raise SelectionError(f"The history has no {column!r}; it has {', '.join(history.columns)}.")
    first = table.iloc[0]
    kind = kind or (first["kind"] if stack is None else "self")
    stack = stack or first["stack"]
    chosen = table[(table["stack"] == stack) & (table["kind"] == kind)]
    if chosen.empty:
        raise SelectionError(f"There is no {stack} {kind}-attention in this history.")
    grid = chosen.pivot_table(index="layer", columns="head", values=column, dropna=False)
    title = f"{history.model_name}  {column.replace('_', ' ')} at step {step:,}".strip()
    return grid_figure(grid.to_numpy(), title=title, layers=[int(layer) for layer in grid.index])


def _role(axes: Axes, history: History, role: str, found: pd.DataFrame) -> None:
    column = str(column_of(history, role))
    strength, _, _ = evidence(history, column)
    at = _at(strength.index)
    bearers = [tuple(row) for row in found[["stack", "kind", "layer", "head"]].itertuples(index=False)]
    for head in strength.columns:
        if head not in bearers:
            axes.plot(at, strength[head], color=_OTHERS, linewidth=0.7, zorder=1)
    several = history.heads[["stack", "kind"]].drop_duplicates().shape[0] > 1
    for number, (head, row) in reversed(list(enumerate(zip(bearers, found.itertuples(index=False), strict=True)))):
        color = _BEARERS[min(number, len(_BEARERS) - 1)]
        place = f"{head[0]} {head[1]} " if several else ""
        label = f"{place}L{head[2]}H{head[3]}" if number < len(_BEARERS) - 1 else None
        axes.plot(at, strength[head], color=color, linewidth=1.7, zorder=3, label=label)
        if number == 0:
            if row.low < row.high:
                axes.axvspan(*_at([row.low, row.high]), color=color, alpha=0.13, linewidth=0, zorder=0)
            axes.axvline(_at([row.onset])[0], color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.axhline(threshold_of(column), color=FAINT, linewidth=0.6, linestyle=":", zorder=0)
    axes.set_ylim(-0.03, 1.03)
    if bearers:
        handles, labels = axes.get_legend_handles_labels()
        more = len(bearers) - len(labels)
        title = None if more <= 0 else f"and {more} more"
        axes.legend(
            handles[::-1], labels[::-1], title=title, fontsize=7, title_fontsize=7, frameon=False,
            loc="center left", bbox_to_anchor=(1.0, 0.5), alignment="left",
        )  # fmt: skip
        first = found.iloc[0]
        when = f"L{first['layer']}H{first['head']} first, {_when(first)}"
    else:
        when = "no head"
    _finish(axes, f"{_named(role)}: {when}", "strength")


def _entropy(axes: Axes, history: History) -> None:
    import matplotlib as mpl

    layers = history.entropy_by_layer()
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.92, max(layers.shape[1], 1)))
    for (place, curve), color in zip(layers.items(), colors, strict=True):
        several = layers.columns.droplevel("layer").nunique() > 1
        label = f"{place[0]} {place[1]} {place[2]}" if several else f"layer {place[2]}"
        axes.plot(_at(layers.index), curve, color=color, linewidth=1.5, label=label)
    axes.set_ylim(bottom=0)
    if layers.shape[1] <= 8:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        shades = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, layers.shape[1] - 1), "viridis")
        color_bar(axes.figure, shades, axes, "layer")
    _finish(axes, "entropy, mean over the heads of each layer", "nats")


def _at(steps: Any) -> Any:
    """Where steps lie: logarithmic from ten on, and the untrained model in sight."""
    return np.log10(np.asarray(steps, float) + 10)


def _steps(axes: Axes, steps: Sequence[int]) -> None:
    marks = [step for step in (0, 10, 30, *(f * 10**p for p in range(2, 9) for f in (1, 3))) if step <= steps[-1]]
    if _at([steps[-1]])[0] - _at([marks[-1]])[0] > 0.08:
        marks.append(steps[-1])
    elif len(marks) > 1:
        marks[-1] = steps[-1]
    axes.set_xticks(_at(marks), [f"{step:,}" for step in marks])
    axes.set_xlim(_at([steps[0]])[0] - 0.02, _at([steps[-1]])[0] + 0.02)
    axes.set_xlabel("step", fontsize=8, color=INK)


def _finish(axes: Axes, title: str, unit: str) -> None:
    finish(axes, title)
    axes.set_ylabel(unit, fontsize=7.5, color=FAINT)


def _named(role: str) -> str:
    return role.replace("_", " ")


def _when(row: pd.Series) -> str:
    if row["low"] == row["high"]:
        return f"from step {row['onset']:,.0f} on"
    return f"at step {row['onset']:,.0f} ({row['low']:,.0f} to {row['high']:,.0f})"
