"""The Text view as a figure: the text itself, shaded by what a token looks at, what looks at it, or a score."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.errors import InputError, SelectionError, TooLongError
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view.static_views.colors import color_map, scale_of
from attention_analyzer.view.static_views.frame import SIZE, blank_axes, caption, figure_of, write
from attention_analyzer.view.static_views.lines import set_lines
from attention_analyzer.view.static_views.screen import Screen, Side

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, MARGIN, FIRST, LINE, LETTERS, BOX = 560.0, 16.0, 56.0, 22.0, 11.5, 8.0
#: More tokens than this are a book, not a figure.
MOST_TOKENS = 4096
Values = Sequence[float | None]


def text(screen: Screen) -> Figure:
    """One block where queries and keys are the same text, else source and target.

    Raises:
        InputError: no token is chosen whose weights could shade the text.
        SelectionError: there is no such track.
    """
    shade = screen.state["shade"]
    same = screen.tokens("query") == screen.tokens("key")
    blocks: list[tuple[str, Tokens, Values]] = []
    what, side, values = _shades(screen, shade)
    if isinstance(side, Tokens):
        blocks = [("", side, values)]
    elif same:
        blocks = [("", screen.tokens("key"), values)]
    else:
        for title, other in (("source: keys", "key"), ("target: queries", "query")):
            tokens = screen.tokens("key" if other == "key" else "query")
            blocks.append((title, tokens, values if other == side else [None] * len(tokens)))
    peak = max((abs(value) for _, _, found in blocks for value in found if value is not None), default=0.0)
    signed = any(value < 0 for _, _, found in blocks for value in found if value is not None)
    norm = scale_of(screen.state, peak or 1, signed=signed)
    colors = color_map(screen.state["diverging" if signed else "palette"], screen.theme.dark)
    count = sum(len(tokens) for _, tokens, _ in blocks)
    if count > MOST_TOKENS:
        raise TooLongError(f"A text of {count} tokens fits no figure, which has {MOST_TOKENS} at most; a page does.")
    # Drawn twice: once to know how many lines it takes.
    lines = _lay_out(screen, figure_of(screen, WIDTH / 72, 4), blocks, colors, norm)
    figure = figure_of(screen, WIDTH / 72, (FIRST + lines * LINE + 24) / 72)
    _lay_out(screen, figure, blocks, colors, norm)
    caption(figure, screen, f"{screen.head_name}: {what}", f"strongest {peak:.3g}")
    return figure


def _shades(screen: Screen, shade: str) -> tuple[str, Side | Tokens, Values]:
    """What shades the text, on which side, and the number of each token; None where it is hidden."""
    state = screen.state
    if shade.startswith("track:"):
        tracks = screen.annotations.tracks if screen.annotations else ()
        track = next((found for found in tracks if f"track:{found.name}" == shade), None)
        if track is None:
            known = ", ".join(found.name for found in tracks) or "none"
            raise SelectionError(f"There is no track {shade[6:]!r} among the annotations; there are: {known}.")
        return ": ".join(filter(None, (track.name, track.note))), track.tokens, list(track.values)
    if shade == "from":
        place = screen.place_of("query", state["query"])
        if place is None:
            raise InputError("Choose a query (a token position) that is shown.")
        row = screen.weights([screen.units("query")[place]])[0]
        return "attention from the chosen query", "key", _spread(screen, "key", row)
    if shade == "to":
        place = screen.place_of("key", state["key"])
        if place is None:
            raise InputError("Choose a key (a token position) that is shown.")
        column = screen.weights(None, [screen.units("key")[place]])[:, 0]
        return "attention to the chosen key", "query", _spread(screen, "query", column)
    if shade == "received":
        return "weight received, mean over all queries", "key", _spread(screen, "key", screen.weights().mean(0))
    raise InputError(f"shade={shade!r} is not one of from, to, received, track:NAME.")


def _spread(screen: Screen, side: Side, values: np.ndarray) -> Values:
    found: list[float | None] = [None] * len(screen.tokens(side))
    for unit, value in zip(screen.units(side), values.tolist(), strict=True):
        for token in unit.tokens:
            found[token] = value
    return found


def _lay_out(
    screen: Screen, figure: Figure, blocks: Sequence[tuple[str, Tokens, Values]], colors: Any, norm: Any
) -> int:
    """Set tokens into lines, word by word; returns how many lines there are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import FancyBboxPatch

    axes = blank_axes(figure, (0, 0, 1, 1))
    canvas = FigureCanvasAgg(figure)
    theme, state = screen.theme, screen.state
    wide: dict[tuple[str, float], float] = {}

    def width(part: str, size: float) -> float:
        if (part, size) not in wide:
            drawn = write(axes, 0, 0, part, theme.text, fontsize=size)
            with warnings.catch_warnings():
                # A character that no installed font has is drawn as a box, which is as wide as it will be.
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                wide[part, size] = drawn.get_window_extent(canvas.get_renderer()).width * 72 / figure.dpi
            drawn.remove()
        return wide[part, size]

    line = 0
    for title, tokens, values in blocks:
        if title:
            write(axes, MARGIN, FIRST + (line + 0.5) * LINE, title, theme.muted, fontweight="bold")
            line += 1
        placed = set_lines(tokens, width, room=WIDTH - 2 * MARGIN, sizes=(LETTERS, SIZE), box=BOX)
        # In a text with itself a key is only chosen where it is what was asked about.
        asked: Side = "key" if state["shade"] == "to" else "query"
        chosen = state[asked] if tokens == screen.tokens(asked) else None
        for item in placed:
            x, y = MARGIN + item.x, FIRST + (line + item.line + 0.5) * LINE
            value, special = values[item.token], tokens.is_special[item.token]
            fill = colors(norm(value)) if value else None
            if fill or special or item.token == chosen:
                edge = theme.accent if item.token == chosen else theme.line if special else "none"
                axes.add_patch(
                    FancyBboxPatch((x, y - 8), item.width, 16, boxstyle="round,pad=0,rounding_size=2",
                                   facecolor=fill or "none", edgecolor=edge)
                )  # fmt: skip
            ink = theme.muted if special else theme.text
            if fill:
                ink = "#101418" if 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] > 0.55 else "#ffffff"
            write(axes, x + (BOX / 2 if special else 0), y, item.shown, ink, fontsize=item.size)
        line += 1 + max(item.line for item in placed)
    return line
