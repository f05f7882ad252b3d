"""Figures of importance: layers × heads, sets as bars, and the pruning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.plots.style import (
    FAINT,
    INK,
    ORANGE,
    color_bar,
    finish,
    heading,
    is_dark,
    layer_by_head,
    panels,
)
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.heads.importance import HeadImportance
    from attention_analyzer.heads.pruning import PruningCurve

_BY_IMPORTANCE, _AT_RANDOM = ORANGE, "#8a94a6"


def importance_figure(importance: HeadImportance) -> Figure:
    """A grid of layers × heads where every head is one row, else bars."""
    table = importance.table
    if table["head"].isna().any() or len(table) < 4:
        return _bars(importance)
    column = "normalized" if importance.method == "gradient" else "importance"
    figure, grid = panels(table)
    bound = float(np.nanmax(np.abs(table[column]))) or 1.0
    signed = importance.method == "ablation" and bool((table[column] < 0).any())
    image: Any = None
    for axes, (place, part) in grid:
        values = part.pivot_table(index="layer", columns="head", values=column, dropna=False).to_numpy(float)
        image = axes.imshow(
            values,
            cmap="RdBu_r" if signed else "YlOrRd",
            vmin=-bound if signed else 0,
            vmax=bound,
            origin="lower",
            aspect="auto",
        )
        _numbers(axes, values, image)
        layer_by_head(axes, range(int(part["head"].max()) + 1), list(part["layer"]), place)
    color_bar(figure, image, [axes for axes, _ in grid])
    heading(figure, f"{importance.model_name}  {importance.meaning}; {importance.texts} texts")
    return figure


def pruning_figure(curve: PruningCurve) -> Figure:
    """Lines with their bands; a band is the interval over texts, or the range of the random orders."""
    figure = new_figure((6.4, 3.8))
    axes = figure.add_subplot()
    for order, color in (("at random", _AT_RANDOM), ("by importance", _BY_IMPORTANCE)):
        part = curve.table[curve.table["order"] == order].sort_values("share")
        axes.fill_between(part["share"] * 100, part["low"], part["high"], color=color, alpha=0.2, linewidth=0)
        label = f"{order} ({'range of five orders' if order == 'at random' else '95 % interval of the change'})"
        axes.plot(part["share"] * 100, part["value"], color=color, marker="o", markersize=3.5, label=label)
    axes.set_xlabel("heads ablated, least important first (%)", fontsize=8, color=FAINT)
    axes.set_ylabel(curve.measure, fontsize=8, color=FAINT)
    axes.set_xlim(0, 100)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    where = "order found on other texts" if curve.held_out else "order found on the same texts"
    finish(axes, f"{curve.model_name}  pruning by {curve.method}; {curve.texts} texts, {where}".strip())
    return figure


def _bars(importance: HeadImportance) -> Figure:
    table = importance.table
    figure = new_figure((6.4, 1.1 + 0.34 * len(table)))
    axes = figure.add_subplot()
    places = range(len(table))
    axes.barh(places, table["importance"], 0.7, color=_BY_IMPORTANCE)
    axes.hlines(places, table["low"], table["high"], color=INK, linewidth=1)
    axes.set_yticks(places, list(table["heads"]))
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_xlabel(importance.meaning, fontsize=8, color=FAINT)
    finish(axes, f"{importance.model_name}  importance of sets of heads; {importance.texts} texts".strip())
    return figure


def _numbers(axes: Axes, values: Any, image: Any) -> None:
    if values.size > 400:
        return
    for (layer, head), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        dark = is_dark(image.cmap(image.norm(value))[:3])
        axes.text(head, layer, _two_digits(value), ha="center", va="center", fontsize=6, color="white" if dark else INK)


def _two_digits(value: float) -> str:
    """Two digits; a number that rounds to nothing is shown as 0."""
    return "0" if abs(value) < 0.005 else f"{value:.2f}"
