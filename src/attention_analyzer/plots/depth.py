"""Figures of depth: where the weight goes layer by layer, and metrics as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.heads.weight_allocation import SHARES, WINDOW
from attention_analyzer.metrics import METRICS
from attention_analyzer.plots.style import FAINT, GROUPS, INK, finish, heading
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.heads.depth import DepthProfile

_COLORS = {"sink": "#b9bec8", "local": "#3b6ea8", "syntax": "#3f8f5b", "distant": "#d9662b"}
_WORDS = {
    "sink": "sink: special and first tokens",
    "local": f"local: at most {WINDOW} tokens away",
    "syntax": "syntax: governor and dependents",
    "distant": "global: farther away",
}


def profile_figure(found: DepthProfile) -> Figure:
    """Above the layers' mean shares as stacked bars, below every head's shares as dots; a column for each stack."""
    groups = list(found.heads.groupby(["stack", "kind"], sort=False))
    names = [name for name in SHARES if name in found.heads]
    depths = [part["layer"].nunique() for _, part in groups]
    width = max(6.2, 1.4 + sum(0.55 * depth + 0.5 for depth in depths))
    figure = new_figure((min(width, 16), 3.0 + 1.15 * (len(names) - 1)))
    ratios = [2.0] + [0.8] * (len(names) - 1)
    grid = figure.subplots(
        1 + len(names) - 1, len(groups), squeeze=False, sharex="col", height_ratios=ratios, width_ratios=depths
    )
    for column, ((stack, kind), part) in enumerate(groups):
        _bars(grid[0, column], part, names, f"{stack} {kind}-attention" if len(groups) > 1 else "")
        for row, name in enumerate(names[1:], start=1):
            _dots(grid[row, column], part, name, first=column == 0)
        grid[-1, column].set_xlabel("layer", fontsize=8, color=INK)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", fontsize=8, frameon=False, ncols=2)
    note = "" if found.annotated else "; no annotation, so no share is called syntax"
    title = f"{found.model_name}  attention by depth; {found.texts} texts{note}"
    heading(figure, title)
    return figure


def depth_figure(found: DepthProfile, metrics: Sequence[str] | None = None) -> Figure:
    """Small pictures, one a metric; a line for each stack and kind of attention.

    Raises:
        InputError: a metric was not measured.
    """
    units = {metric.name: metric.unit for metric in METRICS}
    measured = list(dict.fromkeys(found.table["metric"]))
    chosen = list(metrics) if metrics is not None else measured
    unknown = [name for name in chosen if name not in measured]
    if unknown or not chosen:
        raise InputError(f"No metric {', '.join(map(repr, unknown))} was measured; there are {', '.join(measured)}.")
    across = min(4, len(chosen))
    down = -(-len(chosen) // across)
    figure = new_figure((2.7 * across, 0.7 + 1.9 * down))
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, chosen, strict=False):
        for number, (place, part) in enumerate(found.table.groupby(["stack", "kind"], sort=False)):
            rows = part[part["metric"] == name]
            heads = found.heads[(found.heads[["stack", "kind"]] == list(place)).all(axis=1)]
            _line(axes, rows, heads, name, GROUPS[number % len(GROUPS)], " ".join(place))
        unit = units.get(name, "")
        finish(axes, name.replace("_", " ") + (f" ({unit})" if unit else ""))
        axes.tick_params(labelsize=7)
    if found.table.groupby(["stack", "kind"]).ngroups > 1:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", fontsize=8, frameon=False, ncols=4)
    title = f"{found.model_name}  metrics by layer: mean, spread between heads, single heads; {found.texts} texts"
    heading(figure, title)
    return figure


def _bars(axes: Axes, part: pd.DataFrame, names: Sequence[str], title: str) -> None:
    means = part.groupby("layer")[list(names)].mean()
    bottom = np.zeros(len(means))
    for name in names:
        heights = means[name].fillna(0).to_numpy()
        axes.bar(means.index, heights, 0.82, bottom=bottom, color=_COLORS[name], label=_WORDS[name])
        bottom += heights
    if "syntax_expected" in part and part["syntax_expected"].notna().any():
        expected = part.groupby("layer")["syntax_expected"].mean()
        foot = means["sink"] + expected
        label = "syntax that distances alone explain"
        axes.hlines(
            foot, foot.index - 0.41, foot.index + 0.41, color="white", linewidth=1.6, linestyle=":", label=label
        )
    axes.set_ylim(0, 1)
    axes.set_xticks(list(means.index))
    axes.set_ylabel("mean share", fontsize=8, color=FAINT)
    finish(axes, title)


def _dots(axes: Axes, part: pd.DataFrame, name: str, *, first: bool) -> None:
    # Heads of a layer stand beside each other, so that none hides another.
    count = int(part["head"].max()) + 1
    place = part["layer"] + (part["head"] - (count - 1) / 2) * (0.7 / count)
    axes.scatter(place, part[name], s=10, color=_COLORS[name], linewidths=0)
    axes.set_ylim(-0.04, 1.04)
    if first:
        axes.set_ylabel("global" if name == "distant" else name, fontsize=8, color=_COLORS[name])
    finish(axes, "")


def _line(axes: Axes, rows: pd.DataFrame, heads: pd.DataFrame, name: str, color: str, label: str) -> None:
    axes.scatter(heads["layer"], heads[name], s=5, color=color, alpha=0.35, linewidths=0)
    axes.fill_between(
        rows["layer"],
        rows["mean"] - rows["spread"],
        rows["mean"] + rows["spread"],
        color=color,
        alpha=0.15,
        linewidth=0,
    )
    axes.vlines(rows["layer"], rows["low"], rows["high"], color=color, linewidth=1)
    axes.plot(rows["layer"], rows["mean"], color=color, marker="o", markersize=3, linewidth=1.4, label=label)
    axes.set_xticks(sorted(set(rows["layer"])))
