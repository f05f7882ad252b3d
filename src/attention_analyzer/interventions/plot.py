"""The figure of a what-if: probabilities before and after, and where in the text the prediction changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.interventions.result import WhatIf

_INK, _FAINT = "#1f2430", "#8a8f98"
_BEFORE, _AFTER, _WHERE = "#9aa3b2", "#d9662b", "#4f6d9a"
#: More positions than this are numbered, not named.
_NAMED = 60


def what_if_figure(what: WhatIf) -> Figure:
    """Labels above, positions below; what the model has not (labels, positions) is left out."""
    from matplotlib.figure import Figure

    has_labels = what.task != "representation"
    has_positions = len(what.positions) > 1
    count = len(what.positions)
    width = min(max(6.4, 1.6 + 0.3 * count if count <= _NAMED else 9.0), 14)
    heights = [0.5 + 0.3 * len(what.table)] * has_labels + [1.9] * has_positions
    figure = Figure(figsize=(width, 0.9 + sum(heights)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if has_labels:
        _labels(grid[0], what)
    if has_positions:
        _positions(grid[-1], what)
    name = f"{what.model_name}  " if what.model_name else ""
    figure.suptitle(f"{name}{_short(what.changed, 110)}", fontsize=10, color=_INK, x=0.01, ha="left")
    return figure


def _labels(axes: Axes, what: WhatIf) -> None:
    table = what.table
    places = range(len(table))
    axes.barh([place - 0.19 for place in places], table["before"], 0.36, color=_BEFORE, label="before")
    axes.barh([place + 0.19 for place in places], table["after"], 0.36, color=_AFTER, label="after")
    axes.set_yticks(places, [_short(label, 24) for label in table["label"]], parse_math=False)
    axes.invert_yaxis()
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.set_xlabel("value" if what.task == "value" else "probability", fontsize=8, color=_FAINT)
    title = what.place if what.task == "value" else f"{what.place}: KL divergence {what.kl:.3g} nats"
    _finish(axes, title)


def _positions(axes: Axes, what: WhatIf) -> None:
    frame = what.positions
    column = "change" if what.task == "representation" else "kl"
    axes.bar(frame["position"], frame[column], 0.8, color=_WHERE)
    if what.position is not None:
        axes.bar([what.position], [frame[column][what.position]], 0.8, color=_AFTER)
    if len(frame) <= _NAMED:
        labels = [_short(token, 14) for token in frame["token"]]
        axes.set_xticks(frame["position"], labels, rotation=90, parse_math=False)
    axes.margins(x=0.01)
    shown = "relative change" if what.task == "representation" else "KL (nats)"
    axes.set_ylabel(shown, fontsize=8, color=_FAINT)
    titles = {
        "representation": f"hidden state of every token; their mean changes by {what.effect:.1%}",
        "next token": "change of the prediction after each token",
        "written token": "change of the prediction after each written token",
    }
    _finish(axes, titles.get(what.task, "change of the prediction at each token"))


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, color=_INK, loc="left", parse_math=False)
    axes.tick_params(length=0, labelsize=8, colors=_INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c9ccd1")


def _short(text: str, most: int) -> str:
    """One line: what would break it or be invisible is shown by a sign."""
    shown = re.sub(r"[\x00-\x1f\x7f]", "·", str(text))
    shown = shown.replace(" ", "␣") if not shown.strip() else shown
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
