"""The Parts view as a figure: the map of attention between the parts of a text, of one head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from attention_analyzer.text.parts import Parts
from attention_analyzer.view.part_content import levels_of
from attention_analyzer.view.static_views.grid import drawn_grid
from attention_analyzer.view.static_views.screen import Screen, Side, Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def parts(screen: Screen) -> Figure:
    """Attending parts down, attended parts across.

    Raises:
        InputError: the text has only one part at each level.
        SelectionError: it has no such level.
        UnsupportedModelError: what chance would give is asked for, but the model does not see a band of keys.
    """
    state = screen.state
    attending = _level(screen, "query")
    rows, cols = _units(screen, "query", attending), _units(screen, "key", _level(screen, "key"))
    if not rows or not cols:
        raise InputError("Every token is hidden; show special tokens or sinks again.")
    zoom = state["zoom"]
    if zoom:
        rows, cols = rows[zoom[0] : zoom[1]], cols[zoom[2] : zoom[3]]
    values, name = screen.weights(rows, cols), "weight (renormalized)" if state["renormalise"] else "weight"
    signed = state["values"] == "above_chance"
    if signed:
        values, name = values - _by_size(screen, rows, cols), "weight − share of keys"
    title = f"{screen.head_name} · {attending.level}"
    return drawn_grid(screen, rows, cols, values, title, name, signed=signed, axes_title="attending ↓   attended →")


def _level(screen: Screen, side: Side) -> Parts:
    own = screen.annotations.parts if screen.annotations else ()
    levels = levels_of(screen.tokens(side), own)
    if not levels:
        raise InputError("This text has only one part at each level; there is nothing to show between parts.")
    wanted = screen.state["level"]
    if wanted and wanted not in {level.level for level in levels} and side == "query":
        known = ", ".join(level.level for level in levels)
        raise SelectionError(f"This text has no parts of the level {wanted!r}; there are {known}.")
    return next((level for level in levels if level.level == wanted), levels[0])


def _units(screen: Screen, side: Side, level: Parts) -> list[Unit]:
    found = []
    for number, name in enumerate(level.names):
        run = range(level.borders[number], level.borders[number + 1])
        shown = tuple(token for token in run if not screen.is_hidden(side, token))
        if shown:
            found.append(Unit(shown, name, False))
    return found


def _by_size(screen: Screen, rows: list[Unit], cols: list[Unit]) -> np.ndarray:
    """What each cell would be if every query attended equally to all keys that it sees."""
    seen = screen.entry.weights.visibility
    if not seen.is_band:
        raise UnsupportedModelError(
            "The queries of this layer do not see one run of keys each, so a share of keys is not drawn here; "
            "record.between() has it."
        )
    counts = torch.tensor(
        [not (screen.state["renormalise"] and screen.is_hidden("key", key)) for key in range(seen.keys)]
    )
    result = np.zeros((len(rows), len(cols)))
    for row, unit in enumerate(rows):
        for query in unit.tokens:
            at = slice(query, query + 1)
            tile = seen.to("cpu").seen(at, slice(0, seen.keys), slice(0, 1), torch.device("cpu"))
            visible = counts if tile is None else tile[0, 0, 0] & counts
            whole = max(int(visible.sum()), 1)
            result[row] += [int(visible[list(col.tokens)].sum()) / whole for col in cols]
        result[row] /= len(unit.tokens)
    return result
