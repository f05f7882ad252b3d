"""The 3D view as a figure: layers from below, each with its strongest links, seen from where the page first stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.view.static_views.colors import color_map
from attention_analyzer.view.static_views.frame import SIZE, blank_axes, caption, cut, figure_of, merged, write
from attention_analyzer.view.static_views.screen import Screen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Tokens that a ring shows one by one; a longer text is cut into runs. Links of each layer.
MOST_TOKENS, RUNS, LINKS = 128, 40, 90
WIDTH, HEIGHT = 560.0, 480.0


def space(screen: Screen) -> Figure:
    """Tokens on rings, one ring a layer; a link is colored by its strongest head's weight."""
    state, theme = screen.state, screen.theme
    site = screen.entry.site
    entries = [
        entry for entry in screen.record.entries if (entry.site.stack, entry.site.kind) == (site.stack, site.kind)
    ]
    rows, cols = screen.units("query"), screen.units("key")
    if not rows or not cols:
        raise InputError("Every token is hidden; show special tokens or sinks again.")
    runs = max(len(rows), len(cols)) > MOST_TOKENS
    if runs:
        rows, cols = merged(rows, RUNS), merged(cols, RUNS)
    crossing = site.kind == "cross"
    gap = min(0.5, 2.4 / len(entries))
    focus = (
        None
        if state["query"] is None
        else next((n for n, unit in enumerate(rows) if state["query"] in unit.tokens), None)
    )
    figure = figure_of(screen, WIDTH / 72, HEIGHT / 72)
    axes = blank_axes(figure, (0, 0, 1, 1))
    see = _Camera(gap * len(entries))
    colors = color_map(state["palette"], theme.dark)
    rings = [
        _ring(len(rows) if crossing or level else len(cols), level * gap, 1.0) for level in range(len(entries) + 1)
    ]
    inner = [_ring(len(cols), level * gap, 0.62) for level in range(len(entries))] if crossing else rings
    for level, entry in enumerate(entries):
        all_heads = np.stack(
            [screen.weights(rows, cols, site=entry.site.name, head=head) for head in range(entry.site.heads)]
        )
        best, whose = all_heads.max(0), all_heads.argmax(0)
        wanted = best >= max(state["threshold"], 1e-4)
        if focus is not None:
            wanted &= np.arange(len(rows))[:, None] == focus
        places = np.argwhere(wanted)
        for row, col in places[np.argsort(-best[tuple(places.T)], kind="stable")[:LINKS]][::-1]:
            ends = see(np.stack([inner[level][col], rings[level + 1][row]]))
            own = entry.site.name == state["site"] and whose[row, col] == state["head"]
            share = float(min(best[row, col], 0.999))
            color = theme.accent if own else colors(0.25 + 0.75 * share)
            axes.plot(ends[:, 0], ends[:, 1], color=color, linewidth=0.6 + 2.6 * share, alpha=0.35 + 0.6 * share)
    for ring in rings:
        dots = see(ring)
        axes.scatter(dots[:, 0], dots[:, 1], s=5, color=theme.muted, linewidths=0, zorder=3)
    for level, entry in enumerate(entries):
        x, y = see(np.array([[-1.22, (level + 0.5) * gap, 0]]))[0]
        write(axes, x, y, f"L{entry.site.layer}", theme.muted, ha="center")
    taken: list[tuple[float, float]] = []
    for units, ring, level in ((cols, inner[0], 0), (rows, rings[-1], len(entries))):
        middle = see(np.array([[0.0, level * gap, 0.0]]))[0, 0]
        for unit, (x, y) in zip(units, see(ring * [1.07, 1, 1.07]), strict=True):
            if any(abs(x - other[0]) < 34 and abs(y - other[1]) < 10 for other in taken):
                continue
            taken.append((x, y))
            align = "right" if x < middle else "left"
            write(axes, x, y, cut(unit.label, 14), theme.text, ha=align, fontsize=SIZE - 1)
    what = f"{len(rows)} text segments" if runs else f"{len(rows)} tokens"
    title = f"{site.stack} {site.kind}-attention, {len(entries)} layers from below"
    caption(figure, screen, title, f"{what}; strongest head per link, at most {LINKS} links per layer")
    return figure


def _ring(count: int, height: float, radius: float) -> np.ndarray:
    """``[token, (x, y, z)]``, an open ring."""
    angle = np.arange(count) / count * 2 * np.pi * (0.94 if count > 6 else 0.8) + 0.2
    return np.stack([radius * np.sin(angle), np.full(count, height), radius * np.cos(angle)], 1)


class _Camera:
    """A perspective camera that has everything in sight; called with points ``[point, 3]`` it gives ``[point, 2]``."""

    def __init__(self, height: float) -> None:
        half = np.tan(np.radians(20))
        distance = max((height / 2 + 0.55) / half, 1.45 / (half * WIDTH / HEIGHT)) + 0.6
        back = np.array([0.42, 0.42, 0.8])
        self.back = back / np.linalg.norm(back)
        self.target = np.array([0, height / 2, 0])
        self.place = self.target + distance * self.back
        right = np.cross([0, 1, 0], self.back)
        self.right = right / np.linalg.norm(right)
        self.up = np.cross(self.back, self.right)
        self.unit = HEIGHT / 2 / half

    def __call__(self, points: np.ndarray) -> np.ndarray:
        seen = points - self.place
        depth = -(seen @ self.back)
        return np.stack(
            [WIDTH / 2 + self.unit * (seen @ self.right) / depth, HEIGHT / 2 - self.unit * (seen @ self.up) / depth], 1
        )
