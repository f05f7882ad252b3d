"""The figure of similarity: a map of the heads, and the distances between all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.plotting import FAINT, INK, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.heads.similarity import Similarity

_COLOURS = (
    "#3b6ea8", "#d9662b", "#3f8f5b", "#8a5fa8", "#c2a02d", "#b5475f",
    "#4aa3a3", "#7a6a4f", "#8fa33a", "#d07fb0", "#5b6472", "#2f4858",
)  # fmt: skip
#: More heads than this are not all named on the map.
_NAMED = 80


def similarity_figure(found: Similarity) -> Figure:
    """Left a map, in which colours are clusters and faint heads are unstable ones; right all distances."""
    figure = new_figure((11.5, 5.6))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _map(left, found)
    _matrix(figure, right, found)
    clusters = found.clusters
    figure.suptitle(
        f"{found.model_name}  {found.place}-attention over {found.texts} texts: {clusters.labels.max() + 1} clusters, "
        f"silhouette {clusters.silhouette:.2f}; with texts drawn anew they agree by {clusters.stability:.2f} "
        "(adjusted Rand)",
        fontsize=9.5,
        color=INK,
        x=0.01,
        ha="left",
    )
    return figure


def _map(axes: Axes, found: Similarity) -> None:
    table = found.table
    for _, members in table.dropna(subset="group").groupby("group"):
        axes.plot(members["x"], members["y"], color=FAINT, linewidth=3, alpha=0.45, zorder=1, solid_capstyle="round")
    for row in table.itertuples():
        colour = _COLOURS[row.cluster % len(_COLOURS)]
        marker = "*" if row.specialised else "o"
        size = 190 if row.specialised else 70
        # An unstable head is faint, but still to be seen.
        axes.scatter(row.x, row.y, s=size, marker=marker, color=colour, alpha=0.25 + 0.75 * row.stable, linewidths=0)
    if len(table) <= _NAMED:
        for row in table.itertuples():
            axes.annotate(row.name, (row.x, row.y), (4, 4), textcoords="offset points", fontsize=6.5, color=INK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    notes = ["faint: its cluster changes with the texts"]
    notes += ["★ looks like no other"] if found.specialised else []
    notes += ["joined: redundant"] if found.groups else []
    axes.set_xlabel("; ".join(notes), fontsize=8, color=FAINT)
    finish(axes, f"map of the heads: shows {found.shown:.0%} of their spread")
    axes.set_xticks([])
    axes.set_yticks([])


def _matrix(figure: Figure, axes: Axes, found: Similarity) -> None:
    order = np.lexsort((found.table["head"], found.table["layer"], found.table["cluster"]))
    values = found.distances.to_numpy()[np.ix_(order, order)]
    image = axes.imshow(values, cmap="viridis_r", vmin=0, vmax=max(float(values.max()), 0.1))
    labels = found.table["cluster"].to_numpy()[order]
    for edge in np.flatnonzero(np.diff(labels)) + 0.5:
        axes.axhline(edge, color="white", linewidth=1)
        axes.axvline(edge, color="white", linewidth=1)
    names = [found.table["name"].iloc[index] for index in order]
    if len(names) <= 36:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    bar.set_label("distance", fontsize=8, color=INK)
    finish(axes, "distance between heads, by cluster")
    axes.tick_params(labelsize=6)
    for spine in axes.spines.values():
        spine.set_visible(False)
