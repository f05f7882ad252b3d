"""Figures of parts: a map of the attention between them, and bars of what an answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.plots.style import BLUE, FAINT, INK, ORANGE, UNSURE, finish, heading, short
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.parts.attention import PartAttention
    from attention_analyzer.parts.lookback import Lookback
    from attention_analyzer.parts.receivers import Receivers
    from attention_analyzer.sources.result import Sources
    from attention_analyzer.sources.retrieval import RetrievalHeads
    from attention_analyzer.sources.suppression import Suppression

#: More parts than this cannot be told apart in a figure.
MOST_PARTS = 200
_WORDS = {
    "weights": "attention weight",
    "without_sinks": "attention weight without sinks",
    "above_chance": "attention above chance, without sinks",
    "by_size": "weight expected by size",
    "by_distance": "weight expected by distance",
    "by_size_without_sinks": "weight expected by size, without sinks",
    "by_distance_without_sinks": "weight expected by distance, without sinks",
}


def between_figure(
    found: PartAttention, layer: int | None = None, head: int | None = None, *, values: str = "above_chance"
) -> Figure:
    """Query parts by key parts.

    Args:
        layer, head: one head, or the mean over a layer's heads; over all heads by default.
        values: as for :meth:`.PartAttention.matrix`.

    Raises:
        InputError: there are more parts than a figure can show.
        SelectionError: there is no such head or array.
    """
    rows, columns = len(found.queries), len(found.keys)
    if max(rows, columns) > MOST_PARTS:
        raise InputError(f"A figure shows at most {MOST_PARTS} parts, but there are {max(rows, columns)}; use a table.")
    table = found.matrix(layer, head, values=values)
    array = np.ma.masked_invalid(table.to_numpy())
    array[found.by_size[0] == 0] = np.ma.masked
    signed = values == "above_chance"
    largest = float(np.abs(array).max()) if array.count() else 1.0
    size = (min(16, 2.6 + 0.34 * columns), min(16, 1.9 + 0.3 * rows))
    figure = new_figure(size)
    axes = figure.subplots()
    limits = (-largest, largest) if signed else (0, largest)
    image = axes.imshow(array, cmap="RdBu_r" if signed else "Blues", vmin=limits[0], vmax=limits[1], aspect="auto")
    small = 8 if max(rows, columns) <= 40 else 4
    axes.set_xticks(range(columns), found.keys.names, rotation=60, ha="right", fontsize=small, color=INK)
    axes.set_yticks(range(rows), found.queries.names, fontsize=small, color=INK)
    axes.set_xlabel("attended part", fontsize=9, color=INK)
    axes.set_ylabel("attending part", fontsize=9, color=INK)
    figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    of = "mean over all heads" if layer is None else f"L{layer}" + ("" if head is None else f"H{head}")
    heading(figure, f"{found.model_name}  {_WORDS[values]}; {of}")
    return figure


def sources_figure(found: Sources, most: int = 20) -> Figure:
    """Bars of the parts by the recommended method, best first; blue are sources, orange speak against the answer.

    Args:
        most: how many parts are shown.
    """
    table = found.table.head(most).iloc[::-1]
    colors = {"source": BLUE, "against": ORANGE}
    figure = new_figure((9.5, 1.5 + 0.34 * len(table)))
    axes = figure.subplots()
    places = np.arange(len(table))
    axes.barh(places, table["score"], color=[colors.get(role, UNSURE) for role in table["role"]], height=0.62)
    known = table["low"].notna().to_numpy()
    axes.hlines(places[known], table["low"][known], table["high"][known], color=INK, linewidth=1.2)
    names = [f"{part}  {short(text, 48)}" for part, text in zip(table["part"], table["text"], strict=True)]
    axes.set_yticks(places, names, fontsize=8, color=INK, parse_math=False)
    axes.axvline(0, color=FAINT, linewidth=0.6)
    method = found.recommended or ("removal" if "removal" in found.table else str(found.methods["method"].iloc[0]))
    unit = "attention above chance" if method in ("attention", "learned_heads") else "nats of the answer"
    axes.set_xlabel(f"{method.replace('_', ' ')} ({unit})", fontsize=8, color=INK)
    finish(axes, "")
    none = "no part moves the answer" if found.none else "blue: sources; orange: against the answer"
    heading(figure, f"{found.model_name}  sources of {short(found.answer, 60)!r}; {none}")
    return figure


def receivers_figure(found: Receivers) -> Figure:
    """Scores of every part in each head; receiver heads are marked by a triangle, most peaked first."""
    order = np.argsort(-found.table["kurtosis"].to_numpy())[:MOST_PARTS]
    rows = found.table.iloc[order]
    marks = ["▸ " if flag else "" for flag in rows["receiver"]]
    names = [f"{mark}L{row.layer}H{row.head}" for mark, row in zip(marks, rows.itertuples(), strict=True)]
    shown = np.flatnonzero(~np.isnan(found.scores).all(0))
    title = f"{found.model_name}  weight above chance from later parts; ▸ receivers, most peaked first"
    columns = [found.parts[number] for number in shown]
    return _map(found.scores[np.ix_(order, shown)], names, columns, ("head", "attended part"), title, signed=True)


def lookback_figure(found: Lookback) -> Figure:
    """Heads by written tokens: orange attends to what was given, blue to what was written since."""
    title = f"{found.model_name}  lookback ratio above an even one (0.5)"
    names = [f"L{site.layer}H{head}" for site, head in found.heads][:MOST_PARTS]
    tokens = [repr(token)[1:-1] for token in found.tokens[:MOST_PARTS]]
    values = found.ratios[:MOST_PARTS, :MOST_PARTS] - 0.5
    return _map(values, names, tokens, ("head", "written token"), title, signed=True)


def suppression_figure(found: Suppression) -> Figure:
    """Suppressed parts down, the parts that follow across."""
    names = found.parts.names
    if len(names) > MOST_PARTS:
        raise InputError(f"A figure shows at most {MOST_PARTS} parts, but there are {len(names)}; use a table.")
    title = f"{found.model_name}  change of predictions without a part (nats per token)"
    return _map(found.divergence, names, names, ("suppressed part", "following part"), title, signed=False)


def retrieval_figure(found: RetrievalHeads, most: int = 20) -> Figure:
    """Bars of the heads with most weight on the token that is written, and a line where the control is.

    Args:
        most: how many heads are shown.
    """
    table = found.table.head(most).iloc[::-1]
    figure = new_figure((7.5, 1.5 + 0.3 * len(table)))
    axes = figure.subplots()
    places = np.arange(len(table))
    axes.barh(places, table["weight"], color=[BLUE if flag else UNSURE for flag in table["retrieves"]], height=0.62)
    axes.vlines(table["control"], places - 0.4, places + 0.4, color=ORANGE, linewidth=1.6)
    names = [
        f"L{layer}H{head}  {part}" for layer, head, part in table[["layer", "head", "part"]].itertuples(index=False)
    ]
    axes.set_yticks(places, names, fontsize=8, color=INK, parse_math=False)
    axes.set_xlabel("weight on the written token in the prompt; orange: shuffled prompt", fontsize=8, color=INK)
    finish(axes, "")
    heading(figure, f"{found.model_name}  heads that copy {short(found.answer, 60)!r}; blue: retrieval heads")
    return figure


def _map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
    title: str,
    *,
    signed: bool,
) -> Figure:
    array = np.ma.masked_invalid(values)
    largest = float(np.abs(array).max()) if array.count() else 1.0
    figure = new_figure((min(16, 3 + 0.34 * len(columns)), min(16, 2 + 0.26 * len(rows))))
    axes = figure.subplots()
    limits = (-largest, largest) if signed else (0, largest)
    image = axes.imshow(array, cmap="RdBu_r" if signed else "Blues", vmin=limits[0], vmax=limits[1], aspect="auto")
    small = 8 if max(len(rows), len(columns)) <= 40 else 4
    names: dict[str, Any] = {"fontsize": small, "color": INK, "parse_math": False}
    axes.set_xticks(range(len(columns)), list(columns), rotation=60, ha="right", **names)
    axes.set_yticks(range(len(rows)), list(rows), **names)
    axes.set_ylabel(titles[0], fontsize=9, color=INK)
    axes.set_xlabel(titles[1], fontsize=9, color=INK)
    figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    heading(figure, title)
    return figure
