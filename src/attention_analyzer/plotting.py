"""What this room's figures have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#1f2430", "#8a8f98"


def new_figure(size: tuple[float, float]) -> Figure:
    """Without pyplot, so that nothing global is kept and any thread may draw."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained", facecolor="white")


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


def finish(axes: Axes, title: str) -> None:
    """Title, ticks and frame in this room's manner."""
    axes.set_title(title, fontsize=9, color=INK, loc="left", parse_math=False)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c9ccd1")
