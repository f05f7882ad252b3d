"""What all views of a screen share: a figure in the theme's colors, its title, the line at the foot, small helpers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from attention_analyzer.view.canvas import new_figure
from attention_analyzer.view.static_views.screen import Screen, Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points of a text; a figure's width is measured in inches of 72 of them.
SIZE = 8.5
LONGEST = 18


def figure_of(screen: Screen, width: float, height: float) -> Figure:
    """An empty figure, without pyplot."""
    return new_figure((width, height), face=screen.theme.background, layout=None)


def blank_axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """Axes in points from the upper left corner, at ``(left, bottom, width, height)`` of the figure; nothing drawn."""
    axes = figure.add_axes(place)
    width, height = (72 * size for size in figure.get_size_inches())
    axes.set_xlim(0, place[2] * width)
    axes.set_ylim(place[3] * height, 0)
    axes.set_axis_off()
    return axes


def write(axes: Axes, x: float, y: float, text: str, color: str, **more: Any) -> Any:
    """A line of text; nothing in it is read as a formula."""
    settings: dict[str, Any] = {
        "fontsize": SIZE,
        "va": "center",
        "parse_math": False,
    } | more
    return axes.text(x, y, text, color=color, **settings)


def cut(text: str, longest: int = LONGEST) -> str:
    """A text cut to a number of characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def caption(figure: Figure, screen: Screen, title: str, note: str = "") -> None:
    """Title above, and below what is chosen and hidden, as the page writes it under an exported picture."""
    width, height = (72 * size for size in figure.get_size_inches())
    axes = blank_axes(figure, (0, 0, 1, 1))
    write(axes, 12, 14, title, screen.theme.text, fontsize=SIZE + 1.5, fontweight="bold")
    if note:
        write(axes, 12, 29, note, screen.theme.muted, fontsize=SIZE - 1)
    foot = " — ".join(part for part in (screen.selection_text, screen.hidden_text) if part)
    write(axes, 12, height - 10, cut(foot, int(width / 4.2)), screen.theme.muted, fontsize=SIZE - 1)


def legend(figure: Figure, screen: Screen, image: Any, title: str) -> None:
    """The color scale in the upper right corner."""
    width, height = (72 * size for size in figure.get_size_inches())
    box = figure.add_axes((1 - 142 / width, 1 - 24 / height, 128 / width, 8 / height))
    bar = figure.colorbar(image, cax=box, orientation="horizontal")
    low, high = image.norm.vmin, image.norm.vmax
    bar.set_ticks([low, high], labels=[f"{low:.3g}", f"{high:.3g}"])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SIZE - 1.5, colors=screen.theme.muted, length=0, pad=2)
    bar.ax.set_title(title, fontsize=SIZE - 1, color=screen.theme.muted, loc="left", pad=3)
    bar.outline.set_edgecolor(screen.theme.line)


def merged(units: Sequence[Unit], most: int) -> list[Unit]:
    """At most so many units, neighbors joined evenly where there are more."""
    if len(units) <= most:
        return list(units)
    starts = [number * len(units) // most for number in range(most + 1)]
    return [
        Unit(tuple(token for unit in units[start:stop] for token in unit.tokens), units[start].label, False)
        for start, stop in pairwise(starts)
    ]
