"""The figure of a what-if: probabilities before and after, and where in the text the prediction changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.plots.style import FAINT, ORANGE, finish, heading, short
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.interventions.result import WhatIf

_BEFORE, _AFTER, _WHERE = "#9aa3b2", ORANGE, "#4f6d9a"
#: More positions than this are numbered, not named.
_NAMED = 60


def what_if_figure(what: WhatIf) -> Figure:
    """Labels above, positions below; what the model has not (labels, positions) is left out."""
    has_labels = what.task != "representation"
    has_positions = len(what.positions) > 1
    count = len(what.positions)
    width = min(max(6.4, 1.6 + 0.3 * count if count <= _NAMED else 9.0), 14)
    heights = [0.5 + 0.3 * len(what.table)] * has_labels + [1.9] * has_positions
    figure = new_figure((width, 0.9 + sum(heights)))
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if has_labels:
        _labels(grid[0], what)
    if has_positions:
        _positions(grid[-1], what)
    name = f"{what.model_name}  " if what.model_name else ""
    heading(figure, f"{name}{short(what.changed, 110)}")
    return figure


def _labels(axes: Axes, what: WhatIf) -> None:
    table = what.table
    places = range(len(table))
    axes.barh([place - 0.19 for place in places], table["before"], 0.36, color=_BEFORE, label="before")
    axes.barh([place + 0.19 for place in places], table["after"], 0.36, color=_AFTER, label="after")
    axes.set_yticks(places, [short(label, 24) for label in table["label"]], parse_math=False)
    axes.invert_yaxis()
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.set_xlabel("value" if what.task == "value" else "probability", fontsize=8, color=FAINT)
    title = what.place if what.task == "value" else f"{what.place}: KL divergence {what.kl:.3g} nats"
    finish(axes, title)


def _positions(axes: Axes, what: WhatIf) -> None:
    frame = what.positions
    column = "change" if what.task == "representation" else "kl"
    axes.bar(frame["position"], frame[column], 0.8, color=_WHERE)
    if what.position is not None:
        axes.bar([what.position], [frame[column][what.position]], 0.8, color=_AFTER)
    if len(frame) <= _NAMED:
        labels = [short(token, 14) for token in frame["token"]]
        axes.set_xticks(frame["position"], labels, rotation=90, parse_math=False)
    axes.margins(x=0.01)
    shown = "relative change" if what.task == "representation" else "KL (nats)"
    axes.set_ylabel(shown, fontsize=8, color=FAINT)
    titles = {
        "representation": f"hidden state of every token; their mean changes by {what.effect:.1%}",
        "next token": "change of the prediction after each token",
        "written token": "change of the prediction after each written token",
    }
    finish(axes, titles.get(what.task, "change of the prediction at each token"))
