"""What all figures of results have in common: colors, text, axes, panels."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from attention_analyzer.text.visible import label
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, LINE = "#1f2430", "#8a8f98", "#c9ccd1"
BLUE, ORANGE, UNSURE = "#2f6db3", "#d9662b", "#b9bec7"
#: For up to twelve groups, told apart by people who see colors differently, too.
GROUPS = (
    "#3b6ea8", "#d9662b", "#3f8f5b", "#8a5fa8", "#c2a02d", "#b5475f",
    "#4aa3a3", "#7a6a4f", "#8fa33a", "#d07fb0", "#5b6472", "#2f4858",
)  # fmt: skip


def panels(table: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, tuple[str, Any]]]]:
    """A panel for every stack and kind of attention, as wide as it has heads; each with its rows of the table."""
    groups = list(table.groupby(["stack", "kind"], sort=False))
    widths = [int(part["head"].max()) + 1 for _, part in groups]
    down = max(part["layer"].nunique() for _, part in groups)
    figure = new_figure((max(4.6, 1.8 + 0.5 * sum(widths) + 0.5 * len(groups)), max(2.2, 1.1 + 0.4 * down)))
    grid = figure.subplots(1, len(groups), squeeze=False, width_ratios=widths)[0]
    several = len(groups) > 1
    named = [(f"{stack} {kind}-attention" if several else "", part) for (stack, kind), part in groups]
    return figure, list(zip(grid, named, strict=True))


def heading(figure: Figure, *lines: str, size: float = 10) -> None:
    """The figure's title, at the left, wrapped to the figure's width; empty lines are left out."""
    width = int(figure.get_figwidth() * 135 / size)  # letters of that size (in points) in a line
    text = "\n".join(part for line in lines for part in wrap(line.strip(), width))
    figure.suptitle(text, fontsize=size, color=INK, x=0.01, ha="left", parse_math=False)


def finish(axes: Axes, title: str, *, closed: bool = False) -> None:
    """Title, ticks and frame: left and bottom lines, or all four."""
    axes.set_title(title, fontsize=9, color=INK, loc="left", parse_math=False)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(closed or side in ("left", "bottom"))
        spine.set_color(LINE)
        spine.set_linewidth(0.6)


def layer_by_head(axes: Axes, heads: Sequence[int], layers: Sequence[int], title: str = "") -> None:
    """Axes of a layer × head map: heads across, layers up, no frame."""
    axes.set_xticks(sorted(set(heads)))
    axes.set_yticks(range(len(set(layers))), [str(layer) for layer in sorted(set(layers))])
    axes.tick_params(length=0, labelsize=7, colors=INK)
    axes.set_xlabel("head", fontsize=8, color=INK)
    axes.set_ylabel("layer", fontsize=8, color=INK)
    axes.set_title(title, fontsize=8, color=INK)
    axes.spines[:].set_visible(False)


def color_bar(figure: Any, image: Any, axes: Any, label: str = "") -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    if label:
        bar.set_label(label, fontsize=7, color=FAINT)


def is_dark(color: Any) -> bool:
    """Whether white text is easier to read on a color than black text."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.55


def short(text: object, most: int) -> str:
    """Text on one line: what would break the line or be invisible becomes a sign."""
    return label(str(text), most)
