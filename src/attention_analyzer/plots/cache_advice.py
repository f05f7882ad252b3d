"""What heads need of the KV cache, in one picture: their roles, and what caches of each size keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.plots.style import FAINT, INK, heading, layer_by_head
from attention_analyzer.view.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.patterns.cache_advice import CacheAdvice

_COLORS = {"streaming": "#3182bd", "retrieval": "#006d2c", "full": "#c9a227"}
_MEANINGS = {
    "streaming": "streaming: first and last keys suffice",
    "retrieval": "retrieval: finds things far back",
    "full": "full: neither; it needs more keys than were tried",
}


def cache_figure(advice: CacheAdvice) -> Figure:
    """Left, layers × heads with their roles and the smallest cache that suffices; right, weight kept by cache size."""
    from matplotlib.patches import Patch

    heads = advice.heads
    across, down = int(heads["head"].max()) + 1, int(heads["layer"].max()) + 1
    size = max(7.2, 4.2 + 0.5 * across), max(3.0, 1.5 + 0.46 * down)
    figure = new_figure(size)
    left, right = figure.subplots(1, 2, width_ratios=[max(across, 5) * 0.5, 3.2])
    _roles(left, advice)
    _curves(right, advice)
    seen = [role for role in _COLORS if role in set(heads["role"])]
    patches = [Patch(color=_COLORS[role], label=_MEANINGS[role]) for role in seen]
    figure.legend(handles=patches, loc="outside lower left", fontsize=7, frameon=False, labelcolor=INK)
    heading(figure, f"{advice.model_name}  KV-cache needs of each head")
    return figure


def _roles(axes: Axes, advice: CacheAdvice) -> None:
    from matplotlib.patches import Rectangle

    for row in advice.heads.itertuples():
        color = _COLORS[row.role]
        axes.add_patch(Rectangle((row.head - 0.46, row.layer - 0.46), 0.92, 0.92, color=color, linewidth=0))
        text = f"{row.first}+{row.last}" if row.role == "streaming" else f"{row.kept:.2f}"
        axes.text(row.head, row.layer, text, ha="center", va="center", fontsize=6, color="white")
    axes.set_xlim(-0.5, advice.heads["head"].max() + 0.5)
    axes.set_ylim(-0.5, advice.heads["layer"].max() + 0.5)
    axes.set_aspect("equal")
    layer_by_head(
        axes,
        advice.heads["head"],
        advice.heads["layer"],
        "smallest sufficient cache (first + last), else weight kept by the largest",
    )


def _curves(axes: Axes, advice: CacheAdvice) -> None:
    roles = advice.heads.set_index(["stack", "layer", "head"])["role"]
    for place, caches in advice.table.dropna(subset="kept").groupby(["stack", "layer", "head"], sort=False):
        # Of caches of equal size, the better division.
        best = caches.assign(size=caches["first"] + caches["last"]).groupby("size")["kept"].max().cummax()
        axes.plot(best.index, best.to_numpy(), color=_COLORS[roles[place]], linewidth=0.9, alpha=0.8, marker=".")
    axes.axhline(advice.share, color=FAINT, linewidth=0.7, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.tick_params(labelsize=7, colors=INK)
    axes.set_xlabel("keys in the cache", fontsize=8, color=INK)
    axes.set_ylabel("weight kept", fontsize=8, color=INK)
    axes.set_title("one line per head", fontsize=7, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
