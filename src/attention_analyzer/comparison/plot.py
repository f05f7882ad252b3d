"""Figures of comparisons: what changed most between two models; several models by depth."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.comparison.report import head_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.comparison.comparison import Comparison
    from attention_analyzer.comparison.multi import SeveralModels

_INK, _FAINT, _BAR, _UNSURE = "#1f2430", "#8a8f98", "#2f6db3", "#b9bec7"
#: Heads with a bar of their own; tokens that are named.
_BARS, _TOKENS = 12, 60
_COLOURS = ("#2f6db3", "#d9662b", "#2e7d4f", "#7a4fa3", "#b8a13a", "#b3261e", "#5b6472", "#3aa6b8")


def comparison_figure(comparison: Comparison) -> Figure:
    """All heads by layer; the most different ones with their intervals; the tokens of the first text."""
    from matplotlib.figure import Figure

    heads = comparison.heads
    main = heads.iloc[0][["stack", "kind"]].tolist() if len(heads) else ["", ""]
    shown = heads[(heads["stack"] == main[0]) & (heads["kind"] == main[1])]
    tokens = comparison.tokens
    tokens = tokens[(tokens["text"] == 0) & (tokens["stack"] == main[0]) & (tokens["kind"] == main[1])]
    down, across = int(shown["layer"].max()) + 1, int(shown["head"].max()) + 1
    upper = max(2.6, 0.7 + 0.3 * down, 0.6 + 0.2 * min(len(heads), _BARS))
    figure = Figure(figsize=(9.4, upper + 2.3), layout="constrained", facecolor="white")
    halves: Any = figure.subfigures(2, 1, height_ratios=(upper, 2.0))
    above, below = halves
    left, right = above.subplots(1, 2, width_ratios=(1.05, 1))
    grid = np.full((down, across), np.nan)
    grid[shown["layer"].to_numpy(int), shown["head"].to_numpy(int)] = shown["divergence"]
    image = left.imshow(grid, cmap="viridis", origin="lower", aspect="auto", vmin=0)
    left.set_xticks(range(across))
    left.set_yticks(range(down))
    left.set_xlabel("head", fontsize=8, color=_INK)
    left.set_ylabel("layer", fontsize=8, color=_INK)
    several = heads[["stack", "kind"]].drop_duplicates().shape[0] > 1
    where = f" ({main[0]} {main[1]}-attention)" if several else ""
    _finish(left, f"divergence of every head{where}")
    bar = above.colorbar(image, ax=left, fraction=0.05, pad=0.02)
    bar.set_label("nats", fontsize=7, color=_FAINT)
    bar.ax.tick_params(labelsize=7, colors=_INK)
    bar.outline.set_visible(False)
    _bars(right, comparison)
    _tokens(below.subplots(), comparison, tokens)
    title = f"{_short(comparison.names[0], 48)}  beside  {_short(comparison.names[1], 48)}"
    figure.suptitle(title, fontsize=10, color=_INK, x=0.01, ha="left")
    return figure


def several_figure(several: SeveralModels, columns: tuple[str, ...]) -> Figure:
    """Small multiples: one panel per number, one line per model, over the relative depth of its layers."""
    from matplotlib.figure import Figure

    across = min(len(columns), 3)
    rows = -(-len(columns) // across)
    figure = Figure(figsize=(3.3 * across, 0.9 + 2.3 * rows), layout="constrained", facecolor="white")
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
                    line["depth"], line[column], color=_COLOURS[order % len(_COLOURS)], marker="o", markersize=3,
                    linewidth=1.4, linestyle="-" if kind == "self" else ":", label=name,
                )  # fmt: skip
        axes.set_ylim(bottom=0)
        _finish(axes, column.replace("_", " "), open_frame=True)
        if number + across >= len(columns):
            axes.set_xlabel("depth (0 first layer, 1 last)", fontsize=8, color=_FAINT)
    handles, labels = panels[0].get_legend_handles_labels()
    once = dict(zip(labels[::-1], handles[::-1], strict=True))
    figure.legend(
        [once[name] for name in several.names], [_short(name, 40) for name in several.names],
        loc="outside lower left", fontsize=8, frameon=False, ncols=min(len(several.names), 4),
    )  # fmt: skip
    figure.suptitle("attention by depth", fontsize=10, color=_INK, x=0.01, ha="left")
    return figure


def _bars(axes: Axes, comparison: Comparison) -> None:
    most = comparison.heads.head(_BARS)
    places = np.arange(len(most))
    colours = [_BAR if matched else _UNSURE for matched in most["matched"]]
    axes.barh(places, most["divergence"], 0.66, color=colours)
    if most["low"].notna().all():
        error = np.stack([most["divergence"] - most["low"], most["high"] - most["divergence"]]).clip(0)
        axes.errorbar(most["divergence"], places, xerr=error, fmt="none", ecolor=_INK, elinewidth=0.9)
    kinds = most[["stack", "kind"]].drop_duplicates().shape[0] > 1
    names = [f"{row.stack} {row.kind} {head_name(row)}" if kinds else head_name(row) for row in most.itertuples()]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    said = ["lines: 95 % over texts"] if most["low"].notna().all() else []
    said += ["grey: no match beyond chance"] if not most["matched"].all() else []
    explained = f"\n{'; '.join(said)}" if said else ""
    axes.set_xlabel(f"Jensen–Shannon divergence (nats){explained}", fontsize=8, color=_FAINT)
    _finish(axes, "what differs most", open_frame=True)


def _tokens(axes: Axes, comparison: Comparison, tokens: pd.DataFrame) -> None:
    axes.bar(range(len(tokens)), tokens["divergence"], 0.8, color="#4f6d9a")
    if len(tokens) <= _TOKENS:
        names = [_pair(row.token, row.other_token) for row in tokens.itertuples()]
        axes.set_xticks(range(len(tokens)), names, rotation=90, parse_math=False)
    else:
        axes.set_xlabel("position", fontsize=8, color=_FAINT)
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("nats", fontsize=8, color=_FAINT)
    first = " of the first text" if len(comparison.texts) > 1 else ""
    _finish(axes, f"where what tokens{first} look at differs, mean over all heads", open_frame=True)


def _pair(token: str, other: str) -> str:
    own, theirs = _short(token.strip() or token, 14), _short(other.strip() or other, 14)
    return own if own == theirs else f"{own} / {theirs}"


def _finish(axes: Axes, title: str, *, open_frame: bool = False) -> None:
    axes.set_title(title, fontsize=9, color=_INK, loc="left", parse_math=False)
    axes.tick_params(length=0, labelsize=7.5, colors=_INK)
    for side, spine in axes.spines.items():
        spine.set_visible(not open_frame or side in ("left", "bottom"))
        spine.set_color("#c9ccd1")
        spine.set_linewidth(0.6)


def _short(text: str, most: int) -> str:
    """One line: what would break it or be invisible is shown by a sign."""
    shown = re.sub(r"[\x00-\x1f\x7f]", "·", text)
    shown = shown.replace(" ", "␣") if not shown.strip() else shown
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
