"""The Arcs view as a figure: queries left, keys right, a line for every weight from the threshold on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.errors import InputError, TooLongError
from attention_analyzer.view.static_views.frame import SIZE, blank_axes, caption, cut, figure_of, write
from attention_analyzer.view.static_views.screen import Screen, Side, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW, TOP, LABEL = 13.5, 62.0, 105.0
#: Rows of a figure; a page scrolls, paper does not.
MOST_ROWS = 400
#: Links drawn at once, the strongest.
MOST_LINKS = 6000


def arcs(screen: Screen) -> Figure:
    """All heads that are shown together, or the links of what is pinned or chosen.

    Raises:
        TooLongError: the text has more units than a figure has lines.
    """
    state, theme = screen.state, screen.theme
    rows, cols = screen.units("query"), screen.units("key")
    if not rows or not cols:
        raise InputError("Every token is hidden; show special tokens or sinks again.")
    count = max(len(rows), len(cols))
    if count > MOST_ROWS:
        raise TooLongError(
            f"Arcs of {count} tokens do not fit a figure of {MOST_ROWS} lines; the page scrolls over them."
        )
    heads = [(state["site"], state["head"]), *_compared(screen)]
    focus = _focus(screen, rows, cols)
    links = _links(screen, heads, rows, cols, focus)
    width, height = 460.0, TOP + ROW * count + 30
    figure = figure_of(screen, width / 72, height / 72)
    axes = blank_axes(figure, (0, 0, 1, 1))
    left, right = LABEL + 14, width - LABEL - 14
    center = lambda place: TOP + ROW * (place + 0.5)  # noqa: E731
    for weight, row, col, head in sorted(links, reverse=True)[:MOST_LINKS][::-1]:
        share = weight if state["scale"] == "linear" else max(0.0, 1 + math.log10(max(weight, 1e-4)) / 4)
        quiet = 0.12 if focus == (None, None) else 0.25
        ends = (left, center(row)), (right, center(col))
        _link(axes, *ends, screen.head_color(head), 0.4 + 3 * share, min(1, quiet + 0.8 * share))
    for side, units, x, align in (("query", rows, left - 6, "right"), ("key", cols, right + 6, "left")):
        own = focus[0 if side == "query" else 1]
        linked = {link[1 if side == "query" else 2] for link in links}
        pins = state["pins" if side == "query" else "keyPins"]
        for place, unit in enumerate(units):
            strong = own is not None and place in own
            dim = focus != (None, None) and not strong and place not in linked
            mark = "● " if any(pin in unit.tokens for pin in pins) else ""
            color = theme.muted if unit.special else theme.text
            text = f"{mark}{cut(unit.label)}" if side == "query" else f"{cut(unit.label)}{mark and ' ●'}"
            write(
                axes,
                x,
                center(place),
                text,
                color,
                ha=align,
                alpha=0.45 if dim else 1,
                fontweight="bold" if strong else "normal",
            )
    crossing = screen.tokens("query") != screen.tokens("key")
    write(
        axes,
        left - 6,
        TOP - 12,
        "target: queries look …" if crossing else "queries look …",
        theme.muted,
        ha="right",
        fontsize=SIZE - 1,
    )
    write(
        axes,
        right + 6,
        TOP - 12,
        "… at keys of the source" if crossing else "… at keys",
        theme.muted,
        fontsize=SIZE - 1,
    )
    for number, (name, head) in enumerate(heads):
        text = f"■ L{screen.record.entry(name=name).site.layer}H{head}"
        x = width / 2 + 52 * (number - (len(heads) - 1) / 2)
        write(axes, x, TOP - 12, text, screen.head_color(number), ha="center")
    caption(figure, screen, screen.head_name, f"weights from {state['threshold']:g}")
    return figure


def _compared(screen: Screen) -> list[tuple[str, int]]:
    chosen = (screen.state["site"], screen.state["head"])
    pairs = [(site, int(head)) for site, head in screen.state["heads"]]
    entries = [(pair, screen.record.entry(name=pair[0])) for pair in pairs if pair != chosen]
    return [pair for pair, entry in entries if (entry.queries, entry.keys) == (screen.entry.queries, screen.entry.keys)]


def _focus(screen: Screen, rows: list[Unit], cols: list[Unit]) -> tuple[set[int] | None, set[int] | None]:
    """What stands out: the pins, else the chosen query or key, else everything."""

    def places(units: list[Unit], tokens: list[int]) -> set[int] | None:
        found = {place for place, unit in enumerate(units) if any(token in unit.tokens for token in tokens)}
        return found or None

    state = screen.state
    pinned = places(rows, state["pins"]), places(cols, state["keyPins"])
    if pinned != (None, None):
        return pinned
    chosen = None if state["query"] is None else places(rows, [state["query"]])
    return (chosen, None) if chosen or state["key"] is None else (None, places(cols, [state["key"]]))


def _links(
    screen: Screen, heads: list[tuple[str, int]], rows: list[Unit], cols: list[Unit], focus: tuple[Any, Any]
) -> list[tuple[float, int, int, int]]:
    """``(weight, row, column, number of the head)`` of everything to draw."""
    kept = _passing(screen, rows, cols)
    if focus != (None, None):
        near = np.zeros_like(kept)
        near[sorted(focus[0] or ())] = True
        near[:, sorted(focus[1] or ())] = True
        kept &= near
    found = []
    for number, (site, head) in enumerate(heads):
        values = screen.weights(rows, cols, site=site, head=head)
        for row, col in np.argwhere(kept & (values >= screen.state["threshold"]) & (values > 0)):
            found.append((float(values[row, col]), int(row), int(col), number))
    return found


def _passing(screen: Screen, rows: list[Unit], cols: list[Unit]) -> np.ndarray:
    """bool ``[row, column]``: links that the filters of direction and sentences leave."""
    state, entry = screen.state, screen.entry
    kept = np.ones((len(rows), len(cols)), dtype=bool)
    queries, keys = (np.array([unit.tokens[0] for unit in units]) for units in (rows, cols))
    if state["direction"] != "all" and entry.diagonal is not None:
        wanted = {"earlier": -1, "itself": 0, "later": 1}[state["direction"]]
        kept &= np.sign(keys[None] - queries[:, None] - entry.diagonal) == wanted
    if state["segments"] != "all":
        of: dict[Side, np.ndarray] = {
            "query": np.array([entry.queries.segments[token] for token in queries]),
            "key": np.array([entry.keys.segments[token] for token in keys]),
        }
        start, end = map(int, state["segments"].split(">"))
        kept &= (of["query"][:, None] == start) & (of["key"][None] == end)
    return kept


def _link(
    axes: Any, start: tuple[float, float], end: tuple[float, float], color: str, width: float, opacity: float
) -> None:
    """A line that leaves and arrives level."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x1, y1), (x2, y2) = start, end
    bend = (x1 + x2) / 2
    path = Path([(x1, y1), (bend, y1), (bend, y2), (x2, y2)], [Path.MOVETO, *[Path.CURVE4] * 3])
    axes.add_patch(PathPatch(path, fill=False, edgecolor=color, linewidth=width, alpha=opacity, capstyle="butt"))
