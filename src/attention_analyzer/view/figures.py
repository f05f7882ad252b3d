"""Paper-ready figures by matplotlib: one head, all heads of a layer, a layer × head map of any metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.site import Kind
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.visible import label as label_of
from attention_analyzer.view.canvas import FORMATS, check_figure_path, new_figure, save_figure
from attention_analyzer.view.fonts import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

__all__ = [
    "FINEST",
    "FORMATS",
    "check_figure_path",
    "fonts",
    "grid_figure",
    "head_figure",
    "label_of",
    "layer_figure",
    "map_figure",
    "pooled",
    "save_figure",
]

#: More cells than this on an axis are pooled for a picture: no screen or page shows them singly.
FINEST = 1024
#: More tokens than this on an axis are not all named.
_NAMED = 80
#: Logarithmic colors end here; smaller weights look like none.
_SMALLEST = 1e-4
_INK, _FAINT = "#1f2430", "#8a8f98"


def head_figure(
    record: CapturedAttention,
    layer: int,
    head: int,
    *,
    stack: str | None = None,
    kind: Kind | None = None,
    log: bool | None = None,
    size: float | None = None,
) -> Figure:
    """One head's weights with tokens on both axes: queries down, keys across.

    Args:
        log: logarithmic colors, from 1e-4 to 1; by default for texts so long that single weights are faint.
        size: width in inches; by default as large as the tokens need.

    Raises:
        SelectionError: there is no such layer, head, stack or kind.
    """
    entry = record.entry(layer, stack=stack, kind=kind)
    values = pooled(entry, head)
    longest = max(len(entry.queries), len(entry.keys))
    width = size or min(max(3.4, 1.6 + 0.24 * longest), 12)
    ratio = min(max(len(entry.queries) / len(entry.keys), 0.3), 3)
    figure = new_figure((width, 0.9 + (width - 1.1) * ratio))
    axes = figure.add_subplot()
    norm, colors = _scale(_is_long(entry) if log is None else log)
    image = axes.imshow(values, cmap=colors, norm=norm, aspect="auto", interpolation="nearest", rasterized=True)
    _name_tokens(axes, entry, values.shape)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=_INK)
    bar.set_label("attention weight", fontsize=8, color=_INK)
    bar.outline.set_visible(False)
    _title(axes, f"{_where(record, entry)}L{layer}H{head}", _pooling(entry, values), size=10)
    return figure


def layer_figure(
    record: CapturedAttention,
    layer: int,
    *,
    stack: str | None = None,
    kind: Kind | None = None,
    log: bool | None = None,
    columns: int | None = None,
) -> Figure:
    """All heads of one layer as small pictures.

    Raises:
        SelectionError: there is no such layer, stack or kind.
    """
    entry = record.entry(layer, stack=stack, kind=kind)
    heads = entry.site.heads
    across = columns or min(heads, 4 if heads <= 16 else 8)
    down = -(-heads // across)
    figure = new_figure((1.0 + 2.1 * across, 0.7 + 2.2 * down))
    norm, colors = _scale(_is_long(entry) if log is None else log)
    grid = figure.subplots(down, across, squeeze=False)
    image: Any = None
    for number, axes in enumerate(grid.flat):
        if number >= heads:
            axes.set_axis_off()
            continue
        values = pooled(entry, number, finest=256)
        image = axes.imshow(values, cmap=colors, norm=norm, aspect="auto", interpolation="nearest", rasterized=True)
        axes.set_title(f"L{layer}H{number}", fontsize=8, color=_INK, pad=3)
        short = max(len(entry.queries), len(entry.keys)) <= 16
        if short:
            _name_tokens(axes, entry, values.shape, size=5, left=number % across == 0, below=number + across >= heads)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        _frame(axes)
    figure.suptitle(f"{_where(record, entry)}layer {layer}", fontsize=10, color=_INK)
    bar = figure.colorbar(image, ax=list(grid.flat), fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=7, colors=_INK)
    bar.outline.set_visible(False)
    return figure


def map_figure(
    record: CapturedAttention,
    metric: str = "entropy",
    *,
    stack: str | None = None,
    kind: Kind | None = None,
    numbers: bool | None = None,
) -> Figure:
    """Layers × heads, colored by a metric of the head table.

    Args:
        metric: a name in :data:`attention_analyzer.metrics.METRICS`.
        numbers: whether each cell shows its value; by default where there is room.

    Raises:
        InputError: there is no such metric.
        SelectionError: there is no such stack or kind.
    """
    from attention_analyzer.metrics import METRICS
    from attention_analyzer.metrics.head_table import head_table

    known = {each.name: each for each in METRICS}
    if metric not in known:
        raise InputError(f"There is no metric {metric!r}; the metrics are {', '.join(known)}.")
    table = head_table(record, [known[metric]])
    first = record.sites[0]
    kind = kind or (first.kind if stack is None else "self")
    stack = stack or first.stack
    chosen = table[(table["stack"] == stack) & (table["kind"] == kind)]
    if chosen.empty:
        names = sorted({f"{site.stack} {site.kind}" for site in record.sites})
        raise SelectionError(f"There is no {stack} {kind}-attention; this record has {', '.join(names)}.")
    grid = chosen.pivot_table(index="layer", columns="head", values=metric, dropna=False)
    unit = f" ({known[metric].unit})" if known[metric].unit else ""
    title = metric.replace("_", " ") + unit
    return grid_figure(grid.to_numpy(), title=f"{record.model_name}  {title}".strip(), numbers=numbers)


def grid_figure(
    values: Any, *, title: str, numbers: bool | None = None, diverging: bool = False, layers: Sequence[int] = ()
) -> Figure:
    """Any number per layer and head, ``[layer, head]``, as a colored grid; layer 0 is at the bottom.

    Args:
        diverging: for signed numbers: the colors meet at zero.
        layers: the layers' numbers, if they are not counted from zero.
    """
    import numpy as np

    array = np.asarray(values, dtype=float)
    down, across = array.shape
    figure = new_figure((max(2.6, 1.5 + 0.42 * across), max(2.0, 1.0 + 0.36 * down)))
    axes = figure.add_subplot()
    bound = (float(np.nanmax(np.abs(array))) or 1.0) if diverging else None
    image = axes.imshow(
        array,
        cmap="RdBu_r" if diverging else "viridis",
        origin="lower",
        aspect="auto",
        vmin=None if bound is None else -bound,
        vmax=bound,
    )
    axes.set_xticks(range(across), [str(head) for head in range(across)], fontsize=7, color=_INK)
    axes.set_yticks(range(down), [str(layer) for layer in layers or range(down)], fontsize=7, color=_INK)
    axes.set_xlabel("head", fontsize=8, color=_INK)
    axes.set_ylabel("layer", fontsize=8, color=_INK)
    if numbers is None:
        numbers = across <= 16 and down <= 24
    if numbers:
        for layer in range(down):
            for head in range(across):
                value = array[layer, head]
                shown = "–" if np.isnan(value) else f"{value:.2f}"
                red, green, blue, _ = image.cmap(image.norm(value))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
                color = "white" if dark and not np.isnan(value) else _INK
                axes.text(head, layer, shown, ha="center", va="center", fontsize=6, color=color)
    _frame(axes)
    _title(axes, title, "", size=9)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=_INK)
    bar.outline.set_visible(False)
    return figure


def pooled(entry: SiteRecord, head: int, finest: int = FINEST) -> Any:
    """One head's weights as a NumPy array of at most ``finest`` rows and columns.

    A longer axis is pooled by the largest weight of each cell, so that a single line or stripe stays visible.

    Raises:
        SelectionError: there is no such head.
    """
    weights = entry.weights
    _, queries, keys = weights.shape
    tall, wide = -(-queries // finest), -(-keys // finest)
    if tall == wide == 1:
        return weights[head].float().cpu().numpy()
    rows = []
    step = tall * max(1, 64 // tall)
    for start in range(0, queries, step):
        tile = weights[head, start : min(start + step, queries)].float()
        rows.append(_pool(tile, tall, wide).cpu())
    return torch.cat(rows).numpy()


def _pool(tile: Tensor, tall: int, wide: int) -> Tensor:
    padded = torch.nn.functional.pad(tile, (0, -tile.shape[1] % wide, 0, -tile.shape[0] % tall))
    return padded.unflatten(1, (-1, wide)).unflatten(0, (-1, tall)).amax(dim=(1, 3))


def _is_long(entry: SiteRecord) -> bool:
    return max(len(entry.queries), len(entry.keys)) > _NAMED


def _scale(log: bool) -> tuple[Normalize, Colormap]:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize

    stops = ["#ffffff", "#dbe9f6", "#9ecae1", "#4292c6", "#08519c", "#04224f"]
    colors = LinearSegmentedColormap.from_list("attention", stops)
    return (LogNorm(_SMALLEST, 1, clip=True) if log else Normalize(0, 1)), colors


def _name_tokens(
    axes: Axes,
    entry: SiteRecord,
    shape: tuple[int, ...],
    size: float | None = None,
    left: bool = True,
    below: bool = True,
) -> None:
    """Tokens at both axes; every so many of them where there are more than can be read."""
    for tokens, cells, set_ticks, shown, turned in (
        (entry.keys, shape[1], axes.set_xticks, below, 90),
        (entry.queries, shape[0], axes.set_yticks, left, 0),
    ):
        if not shown:
            set_ticks([])
            continue
        positions, labels = _ticks(tokens, cells)
        set_ticks(positions)
        style: dict[str, Any] = {
            "fontsize": size or (8 if cells <= 40 else 6),
            "color": _INK,
            "parse_math": False,
        }
        set_ticks(positions, labels, rotation=turned, **style)
    axes.tick_params(length=0, pad=2)
    if size is None:
        axes.set_xlabel("key", fontsize=8, color=_FAINT)
        axes.set_ylabel("query", fontsize=8, color=_FAINT)
    _frame(axes)


def _ticks(tokens: Tokens, cells: int) -> tuple[list[float], list[str]]:
    count = len(tokens)
    step = -(-count // _NAMED)
    numbers = list(range(0, count, step)) if step > 1 else list(range(count))
    labels = [f"{number}" if step > 1 else label_of(tokens.pieces[number]) for number in numbers]
    if step > 1:
        step = _round_step(count / 8)
        numbers = list(range(0, count, step))
        labels = [str(number) for number in numbers]
    return [number * cells / count for number in numbers], labels


def _round_step(rough: float) -> int:
    """1, 2 or 5 times a power of ten."""
    power = 10 ** max(0, len(str(int(rough))) - 1)
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_color("#c9ccd1")
        spine.set_linewidth(0.6)


def _title(axes: Axes, title: str, note: str, size: float) -> None:
    axes.set_title(f"{title}{note}", fontsize=size, color=_INK, loc="left", parse_math=False)


def _where(record: CapturedAttention, entry: SiteRecord) -> str:
    """Model, and stack and kind where a record has several."""
    several = len({(site.stack, site.kind) for site in record.sites}) > 1
    place = f"{entry.site.stack} {entry.site.kind}-attention  " if several else ""
    return f"{record.model_name}  {place}".lstrip()


def _pooling(entry: SiteRecord, values: Any) -> str:
    if values.shape == (len(entry.queries), len(entry.keys)):
        return ""
    tall, wide = -(-len(entry.queries) // values.shape[0]), -(-len(entry.keys) // values.shape[1])
    return f"  (each cell: the largest of {tall} × {wide})"
