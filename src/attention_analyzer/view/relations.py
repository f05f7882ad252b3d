"""Figures of linguistic relations: the best head of each relation beside its baseline; all heads of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attention_analyzer.linguistics.scores import Scores

_HEAD, _BASELINE, _INK = "#2f6db3", "#b9bec7", "#1f2430"


def relations_figure(scores: Scores, most: int = 24, fewest: int = 20) -> Figure:
    """Held-out accuracy of each label's best head with its 95 % interval, beside the best baseline's.

    Raises:
        InputError: no label has enough questions.
    """
    from matplotlib.figure import Figure

    table = scores.table(fewest)
    table = table[table["held_out"].notna()].head(most) if len(table) else table
    if not len(table):
        raise InputError(f"No label of the {scores.task} has {fewest} questions; there is nothing to draw.")
    names = [
        f"{row.label}{'' if scores.merge else ' · ' + row.direction} ({row.chosen})"
        for row in table.itertuples(index=False)
    ]
    figure = Figure(figsize=(7.2, 0.9 + 0.3 * len(table)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(table))
    error = np.stack([table["held_out"] - table["low"], table["high"] - table["held_out"]])
    axes.barh(place - 0.19, table["held_out"], 0.36, color=_HEAD, label="best head, on unseen sentences")
    axes.errorbar(table["held_out"], place - 0.19, xerr=error, fmt="none", ecolor=_INK, elinewidth=0.8)
    axes.barh(place + 0.19, table["held_out_baseline"], 0.36, color=_BASELINE, label="best baseline")
    axes.set_yticks(place, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of right answers")
    axes.set_title(f"{scores.task.capitalize()} per head", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside lower right", ncols=2)
    return figure


def relation_map(scores: Scores, label: str, direction: str | None = None) -> Figure:
    """Every head's accuracy on one label, layer × head; the best direction of each head if none is named.

    Raises:
        SelectionError: there is no such label or direction.
    """
    from matplotlib.figure import Figure

    table = scores.head_table(label, direction)
    stack = table["stack"].iloc[0]
    best = table[table["stack"] == stack].groupby(["layer", "head"])["accuracy"].max().unstack("head")
    figure = Figure(figsize=(1.6 + 0.42 * best.shape[1], 1.2 + 0.42 * best.shape[0]), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(best.to_numpy(), vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(best.shape[1]), [str(head) for head in best.columns], fontsize=8)
    axes.set_yticks(range(best.shape[0]), [str(layer) for layer in best.index], fontsize=8)
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.set_title(f"{label}: share of right answers (best baseline {table['baseline'].max():.2f})", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
