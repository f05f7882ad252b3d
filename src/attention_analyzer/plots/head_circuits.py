"""Figures of what a head writes, and of heads that read what others write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.plots.style import BLUE, FAINT, INK, LINE, ORANGE, color_bar, finish, heading, short
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.mechanism.compositions_result import Compositions
    from attention_analyzer.mechanism.contrast_result import ContrastDirections
    from attention_analyzer.mechanism.writes_result import HeadWrites

#: Heads whose names are written along an axis.
_NAMED = 48


def writes_figure(writes: HeadWrites, *, shown: int = 40, named: int = 4) -> Figure:
    """Per source token: the rank of its own token among all that the head promotes, and the tokens promoted most.

    Args:
        shown: how many source tokens are drawn, those with the largest weights.
        named: how many promoted tokens are named.
    """
    table = writes.table
    if len(table) > shown:
        table = table.loc[sorted(table["weight"].nlargest(shown).index)]
    figure = new_figure((7.6, 1.4 + 0.24 * len(table)))
    axes = figure.subplots()
    places = np.arange(len(table))
    axes.barh(places, table["own_rank"], 0.62, color=BLUE)
    for line, color in ((writes.copying, BLUE), (writes.control, ORANGE)):
        if np.isfinite(line):
            axes.axvline(line, color=color, linewidth=1, linestyle="--")
    for place, (_, row) in zip(places, table.iterrows(), strict=True):
        names = "  ".join(short(name, 14) for name in row["promoted"][:named])
        axes.annotate(
            names, (1.02, place), annotation_clip=False, va="center", fontsize=7.5, color=INK, parse_math=False
        )
    labels = [f"{short(row.token, 16)}  {row.weight:.0%}" for row in table.itertuples()]
    axes.set_yticks(places, labels, parse_math=False)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.set_xlabel("fraction of the vocabulary below the token's own logit", fontsize=8, color=FAINT)
    axes.text(1.02, 1.01, "promoted most", transform=axes.transAxes, fontsize=8, color=FAINT)
    finish(axes, "")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 0.62, 1))
    first, second = writes.facts()
    heading(figure, f"{writes.model_name}  {first}", second.partition(";")[0])
    return figure


def compositions_figure(compositions: Compositions) -> Figure:
    """Three maps, sender across and receiver down: scores less what chance gives."""
    table = compositions.table.assign(excess=compositions.table["score"] - compositions.table["baseline"])
    senders, receivers = (list(dict.fromkeys(table[name])) for name in ("sender", "receiver"))
    bound = float(table["excess"].abs().max()) or 1.0
    width = min(15.0, 2.4 + 3 * max(2.4, 0.1 * len(senders)))
    figure = new_figure((width, 2.4 + max(1.6, min(9.0, 0.1 * len(receivers)))))
    grid = figure.subplots(1, 3, sharey=True)
    image = None
    for axes, (name, part) in zip(grid, table.groupby("input", sort=False), strict=True):
        values = part.pivot_table(index="receiver", columns="sender", values="excess")
        values = values.reindex(index=receivers, columns=senders).to_numpy(float)
        image = axes.imshow(values, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto")
        steps = [max(1, -(-len(names) // _NAMED)) for names in (senders, receivers)]
        axes.set_xticks(range(0, len(senders), steps[0]), senders[:: steps[0]], rotation=90, fontsize=5.5)
        axes.set_yticks(range(0, len(receivers), steps[1]), receivers[:: steps[1]], fontsize=5.5)
        axes.set_xlabel("writes", fontsize=8, color=FAINT)
        finish(axes, f"read as {name}", closed=True)
        axes.spines[:].set_color(LINE)
    grid[0].set_ylabel("reads", fontsize=8, color=FAINT)
    color_bar(figure, image, list(grid), "score above chance")
    heading(figure, f"{compositions.model_name}  {compositions.facts()[0]}")
    return figure


def contrast_figure(contrast: ContrastDirections) -> Figure:
    """The weight of chosen pairs as it is, and without each direction; the band is what random directions leave."""
    table = contrast.table
    figure = new_figure((6.4, 1.6 + 0.4 * (len(table) + 1)))
    axes = figure.subplots()
    names = ["nothing", *(f"direction {name}" for name in table["direction"])]
    whole = float(table["weight"].iloc[0])
    values = [whole, *table["removed"]]
    axes.barh(range(len(values)), values, 0.6, color=[INK, *[BLUE] * len(table)])
    left = [whole - drop for drop in contrast.random_drops]
    axes.axvspan(min(left), max(left), color=ORANGE, alpha=0.3, linewidth=0, label="random directions removed")
    axes.set_yticks(range(len(values)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(*values, *left) * 1.15 or 1)
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:.1%}",
            (value, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )
    axes.set_xlabel("weight of the chosen pairs, with this removed from the queries", fontsize=8, color=FAINT)
    axes.legend(fontsize=7.5, frameon=False, loc="lower right")
    finish(axes, "")
    heading(figure, f"{contrast.model_name}  {contrast.facts()[0]}")
    return figure
