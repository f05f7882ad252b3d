"""Figures of comparisons: what changed most between two models; several models by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.comparison.comparison import CHANGES
from attention_analyzer.comparison.report import head_name
from attention_analyzer.errors import SelectionError
from attention_analyzer.metrics import METRICS
from attention_analyzer.plots.style import (
    BLUE,
    FAINT,
    GROUPS,
    INK,
    UNSURE,
    color_bar,
    finish,
    heading,
    short,
)
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.comparison.comparison import Comparison
    from attention_analyzer.comparison.multi import MultiModelComparison

#: Heads with a bar of their own; tokens that are named.
_BARS, _TOKENS = 12, 60


def comparison_figure(comparison: Comparison) -> Figure:
    """All heads by layer; the most different ones with their intervals; the tokens of the first text."""
    heads = comparison.heads
    main = heads.iloc[0][["stack", "kind"]].tolist() if len(heads) else ["", ""]
    shown = heads[(heads["stack"] == main[0]) & (heads["kind"] == main[1])]
    tokens = comparison.tokens
    tokens = tokens[(tokens["text"] == 0) & (tokens["stack"] == main[0]) & (tokens["kind"] == main[1])]
    down, across = int(shown["layer"].max()) + 1, int(shown["head"].max()) + 1
    upper = max(2.6, 0.7 + 0.3 * down, 0.6 + 0.2 * min(len(heads), _BARS))
    figure = new_figure((9.4, upper + 2.3))
    halves: Any = figure.subfigures(2, 1, height_ratios=(upper, 2.0))
    above, below = halves
    left, right = above.subplots(1, 2, width_ratios=(1.05, 1))
    grid = np.full((down, across), np.nan)
    grid[shown["layer"].to_numpy(int), shown["head"].to_numpy(int)] = shown["divergence"]
    image = left.imshow(grid, cmap="viridis", origin="lower", aspect="auto", vmin=0)
    left.set_xticks(range(across))
    left.set_yticks(range(down))
    left.set_xlabel("head", fontsize=8, color=INK)
    left.set_ylabel("layer", fontsize=8, color=INK)
    several = heads[["stack", "kind"]].drop_duplicates().shape[0] > 1
    where = f" ({main[0]} {main[1]}-attention)" if several else ""
    finish(left, f"divergence of every head{where}", closed=True)
    color_bar(above, image, left, "nats")
    _bars(right, comparison)
    _tokens(below.subplots(), comparison, tokens)
    heading(figure, f"{short(comparison.names[0], 48)}  vs.  {short(comparison.names[1], 48)}")
    return figure


def several_figure(several: MultiModelComparison, metrics: Sequence[str] = CHANGES) -> Figure:
    """Small multiples: one panel per metric, one line per model, over the relative depth of its layers.

    Raises:
        SelectionError: there is no such metric.
    """
    columns = tuple(metrics)
    if unknown := [name for name in columns if name not in several.layers.columns]:
        known = ", ".join(metric.name for metric in METRICS)
        raise SelectionError(f"There is no metric {unknown[0]!r}; the metrics are {known}.")
    across = min(len(columns), 3)
    rows = -(-len(columns) // across)
    figure = new_figure((3.3 * across, 0.9 + 2.3 * rows))
    panels = figure.subplots(rows, across, squeeze=False, sharex=True).ravel()
    for number, axes in enumerate(panels):
        if number >= len(columns):
            axes.set_axis_off()
            continue
        column = columns[number]
        for order, name in enumerate(several.names):
            part = several.layers[several.layers["model"] == name]
            for (_, kind), line in part.groupby(["stack", "kind"], sort=False):
                axes.plot(
                    line["depth"], line[column], color=GROUPS[order % len(GROUPS)], marker="o", markersize=3,
                    linewidth=1.4, linestyle="-" if kind == "self" else ":", label=name,
                )  # fmt: skip
        axes.set_ylim(bottom=0)
        finish(axes, column.replace("_", " "))
        if number + across >= len(columns):
            axes.set_xlabel("depth (0 first layer, 1 last)", fontsize=8, color=FAINT)
    handles, labels = panels[0].get_legend_handles_labels()
    once = dict(zip(labels[::-1], handles[::-1], strict=True))
    figure.legend(
        [once[name] for name in several.names], [short(name, 40) for name in several.names],
        loc="outside lower left", fontsize=8, frameon=False, ncols=min(len(several.names), 4),
    )  # fmt: skip
    heading(figure, "attention by depth")
    return figure


def _bars(axes: Axes, comparison: Comparison) -> None:
    most = comparison.heads.head(_BARS)
    places = np.arange(len(most))
    colors = [BLUE if matched else UNSURE for matched in most["matched"]]
    axes.barh(places, most["divergence"], 0.66, color=colors)
    if most["low"].notna().all():
        error = np.stack([most["divergence"] - most["low"], most["high"] - most["divergence"]]).clip(0)
        axes.errorbar(most["divergence"], places, xerr=error, fmt="none", ecolor=INK, elinewidth=0.9)
    kinds = most[["stack", "kind"]].drop_duplicates().shape[0] > 1
    names = [f"{row.stack} {row.kind} {head_name(row)}" if kinds else head_name(row) for row in most.itertuples()]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    said = ["lines: 95 % over texts"] if most["low"].notna().all() else []
    said += ["gray: no match beyond chance"] if not most["matched"].all() else []
    explained = f"\n{'; '.join(said)}" if said else ""
    axes.set_xlabel(f"Jensen–Shannon divergence (nats){explained}", fontsize=8, color=FAINT)
    finish(axes, "largest differences")


def _tokens(axes: Axes, comparison: Comparison, tokens: pd.DataFrame) -> None:
    axes.bar(range(len(tokens)), tokens["divergence"], 0.8, color="#4f6d9a")
    if len(tokens) <= _TOKENS:
        names = [_pair(row.token, row.other_token) for row in tokens.itertuples()]
        axes.set_xticks(range(len(tokens)), names, rotation=90, parse_math=False)
    else:
        axes.set_xlabel("position", fontsize=8, color=FAINT)
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("nats", fontsize=8, color=FAINT)
    first = " of the first text" if len(comparison.texts) > 1 else ""
    finish(axes, f"attention divergence by token{first}, mean over all heads")


def _pair(token: str, other: str) -> str:
    own, theirs = short(token.strip() or token, 14), short(other.strip() or other, 14)
    return own if own == theirs else f"{own} / {theirs}"
