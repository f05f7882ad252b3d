"""Figures of linguistic relations: the best head of each relation beside its baseline; all heads of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import InputError
from attention_analyzer.plots.style import BLUE, INK, UNSURE, color_bar, finish, layer_by_head
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.linguistics.relations import Relations
    from attention_analyzer.linguistics.scores import Scores


def relations_figure(scores: Scores, most: int = 24, fewest: int = 20) -> Figure:
    """Held-out accuracy of each label's best head with its 95 % interval, beside the best baseline's.

    Raises:
        InputError: no label has enough questions.
    """
    table = scores.table(fewest)
    table = table[table["held_out"].notna()].head(most) if len(table) else table
    if not len(table):
        raise InputError(f"No label of the {scores.task} has {fewest} questions; there is nothing to draw.")
    names = [
        f"{row.label}{'' if scores.merge else ' · ' + row.direction} ({row.chosen})"
        for row in table.itertuples(index=False)
    ]
    figure = new_figure((7.2, 0.9 + 0.3 * len(table)))
    axes = figure.subplots()
    place = np.arange(len(table))
    error = np.stack([table["held_out"] - table["low"], table["high"] - table["held_out"]])
    axes.barh(place - 0.19, table["held_out"], 0.36, color=BLUE, label="best head, on unseen sentences")
    axes.errorbar(table["held_out"], place - 0.19, xerr=error, fmt="none", ecolor=INK, elinewidth=0.8)
    axes.barh(place + 0.19, table["held_out_baseline"], 0.36, color=UNSURE, label="best baseline")
    axes.set_yticks(place, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy")
    finish(axes, f"{scores.task.capitalize()} per head")
    figure.legend(fontsize=8, frameon=False, loc="outside lower right", ncols=2)
    return figure


def first_task_figure(relations: Relations, task: str | None = None, most: int = 24, fewest: int = 20) -> Figure:
    """:func:`relations_figure` of one task, the first by default."""
    return relations_figure(relations[task or next(iter(relations.tasks))], most, fewest)


def relation_map(scores: Scores, label: str, direction: str | None = None) -> Figure:
    """Every head's accuracy on one label, layer × head; the best direction of each head if none is named.

    Raises:
        SelectionError: there is no such label or direction.
    """
    table = scores.head_table(label, direction)
    stack = table["stack"].iloc[0]
    best = table[table["stack"] == stack].groupby(["layer", "head"])["accuracy"].max().unstack("head")
    figure = new_figure((1.6 + 0.42 * best.shape[1], 1.2 + 0.42 * best.shape[0]))
    axes = figure.subplots()
    image = axes.imshow(best.to_numpy(), vmin=0, vmax=1, cmap="Blues")
    title = f"{label}: accuracy (best baseline {table['baseline'].max():.2f})"
    layer_by_head(axes, range(best.shape[1]), list(best.index), title)
    color_bar(figure, image, axes)
    return figure
