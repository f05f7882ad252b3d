"""The Query–key view as a figure: what each channel adds to each score, the score, and the weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.view.static_views.colors import color_map, scale_of
from attention_analyzer.view.static_views.frame import SIZE, blank_axes, caption, cut, figure_of, legend, write
from attention_analyzer.view.static_views.screen import Screen
from attention_analyzer.weights.lazy import QueryKeyWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW, TOP = 14.0, 84.0
#: Keys that a figure names.
MOST_KEYS = 40


def products(screen: Screen) -> Figure:
    """The keys that a query sees, the one with the most weight first (or in the order of the text).

    Raises:
        InputError: no query is chosen.
        UnsupportedModelError: the record has weights without queries and keys.
    """
    state, theme, entry = screen.state, screen.theme, screen.entry
    if state["query"] is None:
        raise InputError("Choose a query (a token position) whose weights are to be explained.")
    weights = entry.weights
    if not isinstance(weights, QueryKeyWeights):
        raise UnsupportedModelError("This record has weights only; the model gave no queries and keys.")
    source, head = weights.source, state["head"]
    query = source.query[0, head, state["query"]].float().cpu().numpy()
    keys = source.key[0, head * source.key.shape[1] // weights.heads].float().cpu().numpy()
    row = weights[head, state["query"]].float().cpu().numpy().reshape(-1)
    seen = np.flatnonzero(row > 0)
    if state["order"] == "weight":
        seen = seen[np.argsort(-row[seen], kind="stable")]
    seen = seen[:MOST_KEYS]
    parts = query * keys[seen] * float(source.scaling)
    scores = parts.sum(1)
    if source.softcap is not None:
        scores = source.softcap * np.tanh(scores / source.softcap)
    if source.bias is not None:
        at = slice(state["query"], state["query"] + 1)
        scores = (
            scores + source.bias.tile(0, slice(head, head + 1), at, slice(None)).float().cpu().numpy().reshape(-1)[seen]
        )

    width, height = 560.0, TOP + ROW * len(seen) + 30
    figure = figure_of(screen, width / 72, height / 72)
    axes = blank_axes(figure, (0, 0, 1, 1))
    left, wide = 96.0, 330.0
    colors, norm = color_map(state["diverging"], theme.dark), scale_of(state, float(np.abs(parts).max()), signed=True)
    place = (left / width, 30 / height, wide / width, ROW * len(seen) / height)
    image = figure.add_axes(place)
    drawn = image.imshow(parts, cmap=colors, norm=norm, aspect="auto", interpolation="nearest", rasterized=True)
    image.set_axis_off()
    asked = figure.add_axes((left / width, 1 - 58 / height, wide / width, 11 / height))
    of_query = scale_of(state, float(np.abs(query).max()), signed=True)
    asked.imshow(query[None], cmap=colors, norm=of_query, aspect="auto", interpolation="nearest", rasterized=True)
    asked.set_axis_off()
    write(axes, left - 6, 52, "query", theme.muted, ha="right", fontsize=SIZE - 1)
    for x, text, align in ((left - 6, "keys", "right"), (left, f"query × key, {len(query)} channels", "left"),
                           (left + wide + 40, "score", "right"), (left + wide + 50, "weight", "left")):  # fmt: skip
        write(axes, x, TOP - 8, text, theme.muted, ha=align, fontsize=SIZE - 1)
    for number, key in enumerate(seen):
        y = TOP + ROW * (number + 0.5)
        ink = theme.accent if key == state["key"] else theme.text
        write(axes, left - 6, y, cut(entry.keys.pieces[key].strip() or "␣", 14), ink, ha="right")
        write(axes, left + wide + 40, y, f"{scores[number]:.3f}", ink, ha="right")
        axes.barh(y, 40 * float(row[key]), ROW - 5, left=left + wide + 50, color=theme.accent)
        write(axes, left + wide + 53 + 40 * float(row[key]), y, f"{row[key]:.3g}", theme.muted, fontsize=SIZE - 1)
    piece = cut(entry.queries.pieces[state["query"]].strip())
    caption(figure, screen, f"{screen.head_name}: why “{piece}” attends where it does",
            f"score = {float(source.scaling):.3g} × Σ query × key; weight = softmax of the scores")  # fmt: skip
    legend(figure, screen, drawn, "part of the score")
    return figure
