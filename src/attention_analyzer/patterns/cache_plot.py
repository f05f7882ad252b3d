"""What heads need of the KV cache, in one picture: their roles, and what caches of each size keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.patterns.cache_advice import CacheAdvice

_INK, _FAINT = "#1f2430", "#8a8f98"
_COLOURS = {"streaming": "#3182bd", "retrieval": "#006d2c", "full": "#c9a227"}
_MEANINGS = {
    "streaming": "streaming: first and last keys suffice",
    "retrieval": "retrieval: finds things far back",
    "full": "full: neither; it needs more keys than were tried",
}


def cache_picture(advice: CacheAdvice) -> Figure:
    """Left, layers × heads with their roles and the smallest cache that suffices; right, weight kept by cache size."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    heads = advice.heads
    across, down = int(heads["head"].max()) + 1, int(heads["layer"].max()) + 1
    size = max(7.2, 4.2 + 0.5 * across), max(3.0, 1.5 + 0.46 * down)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=[max(across, 5) * 0.5, 3.2])
    _roles(left, advice)
    _curves(right, advice)
    seen = [role for role in _COLOURS if role in set(heads["role"])]
    patches = [Patch(color=_COLOURS[role], label=_MEANINGS[role]) for role in seen]
    figure.legend(handles=patches, loc="outside lower left", fontsize=7, frameon=False, labelcolor=_INK)
    title = f"{advice.model_name}  what heads need of the KV cache".strip()
    figure.suptitle(title, fontsize=9, color=_INK, x=0.01, ha="left")
    return figure


def _roles(axes: Axes, advice: CacheAdvice) -> None:
    from matplotlib.patches import Rectangle

    for row in advice.heads.itertuples():
        colour = _COLOURS[row.role]
        axes.add_patch(Rectangle((row.head - 0.46, row.layer - 0.46), 0.92, 0.92, color=colour, linewidth=0))
        text = f"{row.first}+{row.last}" if row.role == "streaming" else f"{row.kept:.2f}"
        axes.text(row.head, row.layer, text, ha="center", va="center", fontsize=6, color="white")
    axes.set_xlim(-0.5, advice.heads["head"].max() + 0.5)
    axes.set_ylim(-0.5, advice.heads["layer"].max() + 0.5)
    axes.set_xticks(sorted(set(advice.heads["head"])))
    axes.set_yticks(sorted(set(advice.heads["layer"])))
    axes.tick_params(length=0, labelsize=7, colors=_INK)
    axes.set_xlabel("head", fontsize=8, color=_INK)
    axes.set_ylabel("layer", fontsize=8, color=_INK)
    axes.set_title("smallest cache that suffices (first + last), or what the largest keeps", fontsize=7, color=_INK)
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)


def _curves(axes: Axes, advice: CacheAdvice) -> None:
    roles = advice.heads.set_index(["stack", "layer", "head"])["role"]
    for place, caches in advice.table.dropna(subset="kept").groupby(["stack", "layer", "head"], sort=False):
        # Of caches of equal size, the better division.
        best = caches.assign(size=caches["first"] + caches["last"]).groupby("size")["kept"].max().cummax()
        axes.plot(best.index, best.to_numpy(), color=_COLOURS[roles[place]], linewidth=0.9, alpha=0.8, marker=".")
    axes.axhline(advice.share, color=_FAINT, linewidth=0.7, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.tick_params(labelsize=7, colors=_INK)
    axes.set_xlabel("keys in the cache", fontsize=8, color=_INK)
    axes.set_ylabel("weight kept", fontsize=8, color=_INK)
    axes.set_title("one line a head", fontsize=7, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
