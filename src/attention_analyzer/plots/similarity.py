"""The figure of similarity: a map of the heads, and the distances between all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.plots.style import FAINT, GROUPS, INK, color_bar, finish, heading
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.heads.similarity import Similarity

#: More heads than this are not all named on the map.
_NAMED = 80


def similarity_figure(found: Similarity) -> Figure:
    """Left a map, in which colors are clusters and faint heads are unstable ones; right all distances."""
    figure = new_figure((11.5, 5.6))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _map(left, found)
    _matrix(figure, right, found)
    clusters = found.clusters
    heading(
        figure,
        f"{found.model_name}  {found.place}-attention over {found.texts} texts: {clusters.labels.max() + 1} clusters, "
        f"silhouette {clusters.silhouette:.2f}; bootstrap stability {clusters.stability:.2f} "
        "(adjusted Rand)",
    )
    return figure


def _map(axes: Axes, found: Similarity) -> None:
    table = found.table
    for _, members in table.dropna(subset="group").groupby("group"):
        axes.plot(members["x"], members["y"], color=FAINT, linewidth=3, alpha=0.45, zorder=1, solid_capstyle="round")
    for row in table.itertuples():
        color = GROUPS[row.cluster % len(GROUPS)]
        marker = "*" if row.specialised else "o"
        size = 190 if row.specialised else 70
        # An unstable head is faint, but still to be seen.
        axes.scatter(row.x, row.y, s=size, marker=marker, color=color, alpha=0.25 + 0.75 * row.stable, linewidths=0)
    if len(table) <= _NAMED:
        for row in table.itertuples():
            axes.annotate(row.name, (row.x, row.y), (4, 4), textcoords="offset points", fontsize=6.5, color=INK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    notes = ["faint: unstable cluster"]
    notes += ["★ outlier"] if found.specialised else []
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
    color_bar(figure, image, axes, "distance")
    finish(axes, "distance between heads, by cluster")
    axes.tick_params(labelsize=6)
    axes.spines[:].set_visible(False)
