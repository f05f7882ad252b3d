"""The Matrix and the Difference view as figures: queries down, keys across."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.text.alignment import align
from attention_analyzer.view.static_views.colors import color_map, scale_of
from attention_analyzer.view.static_views.frame import LONGEST, SIZE, caption, cut, figure_of, legend, merged
from attention_analyzer.view.static_views.screen import Screen, Side, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: More cells than this on a side are joined.
MOST = 700
#: Cells whose numbers are written into them.
WRITTEN = 20


def matrix(screen: Screen) -> Figure:
    """One head: weights of every query for every key, or of the zoomed tile."""
    rows, cols = screen.units("query"), screen.units("key")
    if not rows or not cols:
        raise InputError("Every token is hidden; show special tokens or sinks again.")
    zoom = screen.state["zoom"]
    if zoom:
        rows, cols = rows[zoom[0] : zoom[1]], cols[zoom[2] : zoom[3]]
    rows, cols = merged(rows, MOST), merged(cols, MOST)
    name = "weight (renormalized)" if screen.state["renormalise"] else "weight"
    return drawn_grid(screen, rows, cols, screen.weights(rows, cols), screen.head_name, name, signed=False)


def difference(screen: Screen) -> Figure:
    """The same head in two records, second minus first, on the tokens that both have."""
    other = screen.other
    assert other is not None, "checked with the state"
    site = screen.state["site"]
    second = Screen(other, {**screen.state, "hideSinks": False, "renormalise": False})
    first = Screen(screen.record, second.state)
    if site not in {known.name for known in other.sites} or screen.state["head"] >= second.entry.site.heads:
        raise InputError(f"The second record has no {site} head {screen.state['head']}.")
    rows, cols = (_shared(first, second, side) for side in ("query", "key"))
    if not rows or not cols:
        raise InputError("The two records share no tokens.")
    before = first.weights([one for one, _ in rows], [one for one, _ in cols])
    after = second.weights([two for _, two in rows], [two for _, two in cols])
    names = [part.record.model_name or "" for part in (first, second)]
    names = names if all(names) and names[0] != names[1] else ["first", "second"]
    title = f"{screen.head_name} · {names[1]} minus {names[0]}"
    labels = [one for one, _ in rows], [one for one, _ in cols]
    return drawn_grid(screen, *labels, after - before, title, "second − first", signed=True)


def _shared(first: Screen, second: Screen, side: Side) -> list[tuple[Unit, Unit]]:
    tokens = first.tokens(side)
    pairs = align(tokens, second.tokens(side))
    if pairs is None:
        pairs = [([token], [token]) for token in range(len(tokens))]
    plain = Screen(first.record, {**first.state, "units": "pieces", "hideSpecial": False}).units(side)
    found = []
    for left, right in pairs:
        special = all(tokens.is_special[token] for token in left)
        if special and first.state["hideSpecial"]:
            continue
        label = "".join(plain[token].label for token in left)
        found.append((Unit(tuple(left), label, special), Unit(tuple(right), label, special)))
    return found


def drawn_grid(
    screen: Screen,
    rows: list[Unit],
    cols: list[Unit],
    values: np.ndarray,
    title: str,
    name: str,
    *,
    signed: bool,
    axes_title: str = "queries ↓   keys →",
) -> Figure:
    """Rows against columns as a heat map with labels; numbers are written into the cells where they fit."""
    state, theme = screen.state, screen.theme
    labels = [[cut(unit.label) for unit in units] for units in (rows, cols)]
    left, top = (28 + 5.2 * min(max(map(len, names)), LONGEST) for names in labels)
    top = max(44 + 0.8 * (top - 28), 60)
    cell = min(max(440 / max(len(rows), len(cols)), 0.4), 26)
    wide, tall = max(cell * len(cols), 90), max(cell * len(rows), 90)
    width, height = max(left + wide + 40, 400), top + tall + 34
    figure = figure_of(screen, width / 72, height / 72)
    axes = figure.add_axes((left / width, 34 / height, wide / width, tall / height))
    top_value = float(np.abs(values).max())
    colors = color_map(state["diverging" if signed else "palette"], theme.dark)
    norm = scale_of(state, top_value, signed=signed)
    image = axes.imshow(values, cmap=colors, norm=norm, aspect="auto", interpolation="nearest", rasterized=True)
    for position, (names, chosen, pitch) in enumerate(
        zip(labels, ("query", "key"), (tall / len(rows), wide / len(cols)), strict=True)
    ):
        step = max(1, int(np.ceil(10.5 / pitch)))
        ticks = range(0, len(names), step)
        settings: dict[str, Any] = {
            "fontsize": SIZE,
            "parse_math": False,
            "color": theme.text,
        }
        if position == 0:
            axes.set_yticks(ticks, [names[tick] for tick in ticks], **settings)
        else:
            axes.xaxis.tick_top()
            settings |= {"rotation": 60, "ha": "left", "rotation_mode": "anchor"}
            axes.set_xticks(ticks, [names[tick] for tick in ticks], **settings)
        place = next((n for n, unit in enumerate((rows, cols)[position]) if state[chosen] in unit.tokens), None)
        if place is not None:
            draw = (axes.axhspan, axes.axvspan)[position]
            draw(place - 0.5, place + 0.5, fill=False, edgecolor=theme.accent, linewidth=1.2)
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_color(theme.line)
    if max(len(rows), len(cols)) <= WRITTEN:
        _write_numbers(axes, image, values)
    caption(figure, screen, title, axes_title)
    legend(figure, screen, image, name)
    return figure


def _write_numbers(axes: Any, image: Any, values: np.ndarray) -> None:
    for (row, col), value in np.ndenumerate(values):
        if abs(value) < 0.005:
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        ink = "#101418" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "#ffffff"
        text = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
        axes.text(col, row, text, ha="center", va="center", fontsize=SIZE - 2, color=ink)
