"""Layers × heads as colored cells: what every head is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.plots.style import INK, heading, is_dark, layer_by_head
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.patterns.labels import HeadLabels

_BLANK = "#f1f2f4"
#: One color per pattern, related patterns in related hues.
_COLORS = {
    "self": "#08519c",
    "previous_token": "#3182bd",
    "next_token": "#6baed6",
    "fixed_offset": "#9ecae1",
    "first_token": "#a63603",
    "separator": "#e6550d",
    "special_token": "#fd8d3c",
    "punctuation": "#fdbe85",
    "induction": "#006d2c",
    "duplicate_token": "#31a354",
    "retrieval": "#74c476",
    "local_window": "#54278f",
    "same_sentence": "#9e9ac8",
    "vertical": "#d94881",
    "broad": "#b8a13a",
    "copying": "#1b8a8f",
    "mixed": "#a4a9b3",
}
_OTHER = "#5b6472"


def label_figure(labels: HeadLabels) -> Figure:
    """One panel per stack and kind of attention; small squares are further names, and a nameless head stays blank."""
    from matplotlib.patches import Patch

    heads = labels.heads
    panels = list(heads.groupby(["stack", "kind"], sort=False))
    widths = [int(part["head"].max()) + 1 for _, part in panels]
    down = max(int(part["layer"].max()) + 1 for _, part in panels)
    titles = {pattern.name: pattern.title for pattern in PATTERNS}
    seen = set(heads["name"]) | {name for also in heads["also"] for name in also.split(", ")}
    shown = [name for name in titles if name in seen]
    size = max(6.4, 0.9 + 0.5 * sum(widths)), 1.3 + 0.46 * down + 0.1 * (len(shown) + 1)
    figure = new_figure(size)
    grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for axes, ((stack, kind), part) in zip(grid, panels, strict=True):
        for row in part.itertuples():
            _cell(axes, row)
        axes.set_xlim(-0.5, part["head"].max() + 0.5)
        axes.set_ylim(-0.5, part["layer"].max() + 0.5)
        title = f"{stack} {kind}-attention" if len(panels) > 1 else ""
        layer_by_head(axes, part["head"], part["layer"], title)
        axes.set_aspect("equal")
        axes.set_anchor("W")
    patches = [Patch(color=_COLORS.get(name, _OTHER), label=f"{_shown(name)}: {titles[name]}") for name in shown]
    patches.append(Patch(color=_BLANK, label="unlabeled"))
    figure.legend(handles=patches, loc="outside lower left", fontsize=7, frameon=False, ncols=2, labelcolor=INK)
    heading(figure, f"{labels.model_name}  head types and scores")
    return figure


def _cell(axes: Axes, row: Any) -> None:
    """One head: a row of :attr:`.HeadLabels.heads`."""
    from matplotlib.patches import Rectangle

    color = _COLORS.get(row.name, _OTHER) if row.name else _BLANK
    axes.add_patch(Rectangle((row.head - 0.46, row.layer - 0.46), 0.92, 0.92, color=color, linewidth=0))
    if not row.name:
        return
    text = f"{row.which}\n{row.strength:.2f}" if row.name == "fixed_offset" else f"{row.strength:.2f}"
    ink = "white" if is_dark(color) else INK
    axes.text(row.head, row.layer, text, ha="center", va="center", fontsize=6, color=ink, linespacing=1.1)
    for number, name in enumerate(row.also.split(", ") if row.also else []):
        corner = row.head - 0.4 + 0.17 * number, row.layer - 0.4
        square = Rectangle(corner, 0.14, 0.14, facecolor=_COLORS.get(name, _OTHER), edgecolor="white", linewidth=0.5)
        axes.add_patch(square)


def _shown(name: str) -> str:
    return name.replace("_", " ")
