"""Figures of what the parts of a model add: a logit as a waterfall, and its heads as a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.plots.style import (
    BLUE,
    FAINT,
    INK,
    LINE,
    ORANGE,
    color_bar,
    finish,
    heading,
    layer_by_head,
    panels,
    short,
)
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from attention_analyzer.mechanism.circuit_result import Circuit
    from attention_analyzer.mechanism.effects_result import Effects
    from attention_analyzer.mechanism.patching_result import Patching
    from attention_analyzer.mechanism.why_result import Why

_TOTAL = "#5b6472"
_INPUT_COLORS = {"query": ORANGE, "key": BLUE, "value": "#3f8f5b"}


def effects_figure(effects: Effects, *, shown: int = 14) -> Figure:
    """The logit as a waterfall: the largest effects one below the other, the others together, then the logit.

    Args:
        shown: how many components have a bar of their own.
    """
    frame = effects.to_frame()
    names = [short(name, 30) for name in frame["component"].head(shown)]
    sizes = [float(size) for size in frame["effect"].head(shown)]
    others = len(frame) - len(sizes)
    if others:
        names.append(f"{others} others")
        sizes.append(float(frame["effect"].iloc[shown:].sum()))
    starts = np.concatenate([[0.0], np.cumsum(sizes)[:-1]])
    figure = new_figure((7.6, 1.3 + 0.27 * (len(names) + 1)))
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places, sizes, 0.62, left=starts, color=[BLUE if size >= 0 else ORANGE for size in sizes])
    axes.barh([len(names)], [effects.logit], 0.62, color=_TOTAL)
    for place, start, end in zip(places, starts, np.cumsum(sizes), strict=True):
        axes.plot([end, end], [place, place + 1], color=LINE, linewidth=0.8, zorder=0)
        axes.annotate(
            f"{end - start:+.3f}",
            (max(start, end), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )
    axes.annotate(
        f"{effects.logit:.3f}",
        (max(effects.logit, 0), len(names)),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK,
    )
    axes.set_yticks([*places, len(names)], [*names, "logit" if effects.versus is None else "difference"])
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, linewidth=0.6)
    axes.margins(x=0.12)
    axes.set_xlabel("added to the logit", fontsize=8, color=FAINT)
    finish(axes, "")
    heading(figure, f"{effects.model_name}  {effects.what}", f"held at their values: {', '.join(effects.held)}")
    return figure


def sources_figure(sources: pd.DataFrame, head: str, *, shown: int = 60) -> Figure:
    """What a head moved from every source token, in the order of the text.

    Args:
        sources: ``position, token, effect``, as :meth:`.Effects.by_source` gives them.
        shown: how many tokens are drawn, those with the largest effects.
    """
    if len(sources) > shown:
        sources = sources.loc[sorted(sources["effect"].abs().nlargest(shown).index)]
    figure = new_figure((min(14.0, max(4.0, 1.4 + 0.34 * len(sources))), 2.5))
    axes = figure.subplots()
    places = range(len(sources))
    axes.bar(places, sources["effect"], 0.7, color=[BLUE if size >= 0 else ORANGE for size in sources["effect"]])
    labels = [short(token, 12) for token in sources["token"]]
    axes.set_xticks(places, labels, rotation=60, ha="right", parse_math=False)
    axes.axhline(0, color=FAINT, linewidth=0.6)
    axes.set_ylabel("added to the logit", fontsize=8, color=FAINT)
    finish(axes, f"{head}, by the token that it read")
    return figure


def effect_map(effects: Effects) -> Figure:
    """Heads by layer and head: what each adds to the logit."""
    table = effects.heads().rename(columns={"kind": "row"}).assign(kind=lambda rows: rows["attention"])
    bound = float(table["effect"].abs().max()) or 1.0
    figure, grid = panels(table.astype({"layer": int, "head": int}))
    image: Any = None
    for axes, (place, part) in grid:
        values = part.pivot_table(index="layer", columns="head", values="effect").to_numpy(float)
        image = axes.imshow(values, cmap="RdBu", vmin=-bound, vmax=bound, origin="lower", aspect="auto")
        layer_by_head(axes, range(int(part["head"].max()) + 1), list(part["layer"]), place)
    color_bar(figure, image, [axes for axes, _ in grid], "added to the logit")
    heading(figure, f"{effects.model_name}  {effects.what}")
    return figure


def why_figure(why: Why, *, shown: int = 12) -> Figure:
    """The score as a map: components of the query's side down, those of the key's side across.

    Args:
        shown: how many components of each side are drawn; the others are summed.
    """
    table = _largest(_largest(why.table, shown).T, shown).T
    values = table.to_numpy(float)
    bound = float(np.abs(values).max()) or 1.0
    figure = new_figure((2.6 + 0.42 * values.shape[1], 2.4 + 0.3 * values.shape[0]))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto")
    for row, column in zip(*np.nonzero(np.abs(values) > 0.25 * bound), strict=True):
        color = "white" if abs(values[row, column]) > 0.6 * bound else INK
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=6.5, color=color)
    axes.set_xticks(range(values.shape[1]), [short(name, 22) for name in table.columns], rotation=60, ha="right")
    axes.set_yticks(range(values.shape[0]), [short(name, 22) for name in table.index])
    axes.set_xlabel(f"written at the key {short(why.key_token, 14)!r} ({why.key})", fontsize=8, color=FAINT)
    axes.set_ylabel(f"written at the query {short(why.query_token, 14)!r} ({why.query})", fontsize=8, color=FAINT)
    finish(axes, "", closed=True)
    color_bar(figure, image, axes, "added to the score")
    heading(figure, f"{why.model_name}  {why.facts()[0].partition(';')[0]}")
    return figure


def _largest(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows with the largest cells, and the others as one."""
    if len(table) <= count:
        return table
    order = table.abs().max(axis=1).sort_values(ascending=False, kind="stable").index
    first, rest = table.loc[order[:count]], table.loc[order[count:]]
    first.loc[f"{len(rest)} others"] = rest.sum(axis=0)
    return first


def patching_figure(patching: Patching) -> Figure:
    """Heads by layer and head, or the residual stream by layer and position: the fraction that each patch recovered."""
    table, column = patching.table, patching.column
    bound = float(table[column].abs().max()) or 1.0
    image: Any = None
    figure: Figure
    if "position" in table:
        values = table.pivot_table(index="layer", columns="position", values=column).to_numpy(float)
        figure = new_figure((min(14.0, 2.2 + 0.36 * values.shape[1]), 2.2 + 0.3 * values.shape[0]))
        axes = figure.subplots()
        image = axes.imshow(values, cmap="RdBu", vmin=-bound, vmax=bound, origin="lower", aspect="auto")
        labels = [
            f"{short(piece, 12)}{' *' if at in patching.differ else ''}"
            for at, piece in enumerate(patching.tokens.pieces)
        ]
        axes.set_xticks(range(len(labels)), labels, rotation=70, ha="right", parse_math=False)
        axes.set_yticks(range(values.shape[0]))
        axes.set_ylabel("enters layer", fontsize=8, color=FAINT)
        finish(axes, "", closed=True)
        color_bar(figure, image, axes, "recovered")
    else:
        figure, grid = panels(table)
        for axes, (place, part) in grid:
            values = part.pivot_table(index="layer", columns="head", values=column).to_numpy(float)
            image = axes.imshow(values, cmap="RdBu", vmin=-bound, vmax=bound, origin="lower", aspect="auto")
            layer_by_head(axes, range(int(part["head"].max()) + 1), list(part["layer"]), place)
        color_bar(figure, image, [axes for axes, _ in grid], column)
    path = f" on the path into {patching.into}" if patching.into else ""
    ends = f"{patching.clean:.3f} clean, {patching.corrupted:.3f} corrupted"
    star = "; * positions at which the texts differ" if "position" in table else ""
    heading(figure, f"{patching.model_name}  {patching.what} patched{path}", f"{patching.metric}: {ends}{star}")
    return figure


def circuit_figure(circuit: Circuit, *, shown: int = 50) -> Figure:
    """Layers as columns, heads as dots as large as what is lost without them, edges as thick as what they carry.

    Args:
        shown: how many edges are drawn, the strongest.
    """
    heads = circuit.heads
    layers = sorted(set(heads["layer"]))
    figure = new_figure((max(5.6, 2.0 + 1.7 * len(layers)), max(3.0, 1.6 + 0.62 * heads.groupby("layer").size().max())))
    axes = figure.subplots()
    places: dict[str, tuple[float, float]] = {}
    for column, layer in enumerate(layers):
        members = heads[heads["layer"] == layer]
        for row, name in enumerate(members["component"]):
            places[name] = (float(column), (len(members) - 1) / 2 - row)
    edges = circuit.edges[circuit.edges["lost"] > 0].sort_values("lost", ascending=False).head(shown)
    bound = float(edges["lost"].max()) if len(edges) else 1.0
    bends = {"query": 0.12, "key": 0.0, "value": -0.12}
    for edge in edges.sort_values("lost").itertuples():
        start, end = places[str(edge.sender)], places[str(edge.receiver)]
        # An edge over several columns goes around the heads between them.
        around = 0.14 * (1 if end[1] <= start[1] else -1) if end[0] - start[0] > 1 else 0.0
        bend = bends[str(edge.input)] + around
        axes.annotate(
            "",
            end,
            start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": _INPUT_COLORS[str(edge.input)],
                "alpha": 0.15 + 0.8 * edge.lost / bound,
                "linewidth": 0.6 + 3.4 * edge.lost / bound,
                "shrinkA": 17,
                "shrinkB": 19,
                "connectionstyle": f"arc3,rad={bend:.2f}",
            },
        )
    most = float(heads["lost"].max()) or 1.0
    for name, lost in zip(heads["component"], heads["lost"], strict=True):
        x, y = places[name]
        axes.scatter(
            [x], [y], s=420 + 700 * max(lost, 0) / most, color="white", edgecolors=_TOTAL, linewidths=1.4, zorder=3
        )
        axes.text(x, y, short(name, 16), ha="center", va="center", fontsize=7.5, color=INK, zorder=4)
    for name in ("query", "key", "value"):
        axes.plot([], [], color=_INPUT_COLORS[name], linewidth=2, label=f"read as {name}")
    axes.legend(fontsize=7.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    axes.set_xticks(range(len(layers)), [f"layer {layer}" for layer in layers])
    axes.set_yticks([])
    axes.margins(x=0.22, y=0.3)
    finish(axes, "")
    axes.spines[:].set_visible(False)
    heading(figure, f"{circuit.model_name}  {circuit.facts()[0]}", circuit.facts()[1])
    return figure
