"""Scores of tokens, and methods side by side, as figures. They are made without pyplot, so any thread may draw."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import torch

from attention_analyzer.media.images import Image
from attention_analyzer.places.heat import lies_in
from attention_analyzer.plots.style import FAINT, INK, LINE, heading, short
from attention_analyzer.text.place import FilmCell, ImageCell
from attention_analyzer.view.canvas import new_figure
from attention_analyzer.view.static_views.picture import draw_heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attention_analyzer.attribution.comparison import AttributionComparison
    from attention_analyzer.attribution.importance import TokenImportance

#: More units than this are drawn as a line over positions instead of a list.
LISTED = 60
_NAMED = 8
_FOR, _AGAINST, _SPECIAL = "#3f7fbf", "#c4553d", "#b4b9c2"
#: One color per method, told apart by people who see colors differently, too.
_COLORS = {
    "received": "#8c8c8c",
    "last_layer": "#b8a13a",
    "rollout": "#e08214",
    "rollout_unadjusted": "#b35806",
    "rollout_normalized": "#fdb863",
    "rollout_chefer": "#d8a27a",
    "flow": "#7b3294",
    "norm": "#1b7837",
    "gradient_attention": "#2166ac",
    "integrated_gradients": "#c51b5a",
    "occlusion": "#01665e",
}
_OTHER = "#5b6472"


def importance_figure(found: TokenImportance) -> Figure:
    """A bar per token, from the top down as the text is read; over long texts a line, with its peaks named.

    Cells of an image are shown over the image itself.
    """
    if any(isinstance(place, (ImageCell, FilmCell)) for place in found.places):
        return _picture_figure(found)
    units = len(found) + len(found.special_tokens)
    if units > LISTED:
        return _long_figure(found)
    figure = new_figure((5.6, 1.7 + 0.22 * units))
    axes = figure.add_subplot()
    names = [*found.tokens, *(token for token, _ in found.special_tokens)]
    values = [share if raw >= 0 else -share for share, raw in zip(found.scores, found.raw, strict=True)]
    colors = [_AGAINST if value < 0 else _FOR for value in values]
    colors += [_SPECIAL] * len(found.special_tokens)
    values += [share for _, share in found.special_tokens]
    axes.barh(range(units), values, color=colors, height=0.72)
    axes.set_ylim(units - 0.4, -0.6)
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.14 * (high - low or 1)
    axes.set_xlim(low - room if low < 0 else 0, high + room)
    _names(axes, names)
    for at, value in enumerate(values):
        side = "left" if value >= 0 else "right"
        axes.text(value, at, f" {abs(value):.3f} ", va="center", ha=side, fontsize=7, color=INK)
    if low < 0:
        axes.axvline(0, color=LINE, linewidth=0.8)
    against = " Left of zero: tokens that lower it." if low < 0 else ""
    _foot(axes, f"{found.special_handling}{against}", 84)
    axes.tick_params(axis="x", labelsize=7, colors=FAINT)
    _frame(axes)
    heading(figure, f"{found.model_name}  {found.title}", _about(found), size=9)
    return figure


def comparison_figure(found: AttributionComparison) -> Figure:
    """Left every method's scores by token, in colors up to its own largest; right the deletion curves."""
    units = len(found.importances[0])
    tall = max(3.9, 1.9 + 0.2 * min(units, LISTED))
    figure = new_figure((4.0 + 0.42 * len(found.importances) + 5.2, tall))
    left, right = figure.subplots(1, 2, width_ratios=[1.6 + 0.42 * len(found.importances), 5.2])
    _score_grid(left, found)
    _curves(right, found)
    heading(figure, f"{found.model_name}  {found.target}", size=9)
    return figure


def _picture_figure(found: TokenImportance) -> Figure:
    images = [medium for medium in found.media if isinstance(medium, Image)]
    shown = [number for number in range(len(images)) if any(lies_in(place, number) for place in found.places)]
    widths = [4.2 * min(images[number].width / images[number].height, 2.5) for number in shown]
    figure = new_figure((max(5.6, sum(widths) + 0.6), 5.6))
    for axes, number in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        draw_heat(axes, images[number], found.heat(number))
    against = " Cells below zero, which lower it, stay clear." if min(found.raw) < 0 else ""
    figure.supxlabel(f"{found.special_handling}{against}", x=0.03, ha="left", fontsize=7, color=FAINT)
    heading(figure, f"{found.model_name}  {found.title}", _about(found), size=9)
    return figure


def _long_figure(found: TokenImportance) -> Figure:
    figure = new_figure((9.0, 3.2))
    axes = figure.add_subplot()
    axes.vlines(range(len(found)), 0, found.scores, color=_FOR, linewidth=max(0.4, min(3.0, 450 / len(found))))
    axes.set_xlim(-1, len(found))
    axes.set_ylim(0, max(found.scores) * 1.25)
    strongest = sorted(range(len(found)), key=lambda at: -found.scores[at])[:_NAMED]
    placed: list[int] = []
    for at in strongest:
        # Names that would lie on one another are left out: the table has them all.
        if all(abs(at - other) > len(found) / 22 for other in placed):
            placed.append(at)
            name = short(found.tokens[at], 20)
            axes.annotate(name, (at, found.scores[at]), (0, 2), textcoords="offset points", ha="center", fontsize=7,
                          color=INK, parse_math=False)  # fmt: skip
    _foot(axes, f"Position of the {found.unit}. {found.special_handling}", 160)
    axes.set_ylabel("share of the whole", fontsize=7, color=FAINT)
    axes.tick_params(labelsize=7, colors=FAINT)
    _frame(axes)
    heading(figure, f"{found.model_name}  {found.title}", _about(found), size=9)
    return figure


def _score_grid(axes: Axes, found: AttributionComparison) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    grid = torch.tensor([each.scores for each in found.importances], dtype=torch.double).T
    grid = grid / grid.amax(0, keepdim=True).clamp(min=1e-12)
    if len(grid) > LISTED:
        grid = torch.nn.functional.adaptive_max_pool1d(grid.T[None], LISTED)[0].T
        axes.set_yticks([])
        axes.set_ylabel(f"{len(found.importances[0])} {found.importances[0].unit}s", fontsize=8, color=FAINT)
    else:
        _names(axes, found.importances[0].tokens)
    colors = LinearSegmentedColormap.from_list("share", ["#ffffff", "#dbe9f6", "#9ecae1", "#4292c6", "#08519c"])
    axes.imshow(grid.numpy(), cmap=colors, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    methods = [each.method.replace("_", " ") for each in found.importances]
    axes.set_xticks(range(len(methods)), methods, rotation=40, ha="right", fontsize=8, color=INK)
    axes.tick_params(length=0)
    axes.set_title("score relative to the method's maximum", fontsize=8, color=FAINT, loc="left")
    _frame(axes)


def _curves(axes: Axes, found: AttributionComparison) -> None:
    shares = [step / found.steps[-1] for step in found.steps]
    curves = torch.tensor([judged.curve for judged in found.random], dtype=torch.double)
    low, high = curves.quantile(0.025, 0).tolist(), curves.quantile(0.975, 0).tolist()
    axes.fill_between(shares, low, high, color="#e3e5e9", linewidth=0, label="random orders, 95 % of them")
    axes.plot(
        shares, curves.mean(0).tolist(), color="#9aa0a9", linewidth=1.2, linestyle="--", label="mean of random orders"
    )
    table = found.table.set_index("method")
    for importance, judged in zip(found.importances, found.judged, strict=True):
        row = table.loc[importance.method]
        label = (
            f"{importance.method.replace('_', ' ')}: {row['comprehensiveness']:+.2f} / {row['sufficiency']:+.2f}, "
            f"ahead of {row['ahead_of_random']:.0%} of random orders"
        )
        color = _COLORS.get(importance.method, _OTHER)
        axes.plot(shares, judged.curve, color=color, linewidth=1.6, marker="o", markersize=2.5, label=label)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the text deleted, the most important first", fontsize=8, color=INK)
    axes.set_ylabel(found.measured, fontsize=8, color=INK)
    axes.tick_params(labelsize=7, colors=INK)
    axes.set_title("deletion · comprehensiveness / sufficiency", fontsize=8, color=FAINT, loc="left")
    axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.13), ncols=2, labelcolor=INK)
    _frame(axes)


def _foot(axes: Axes, text: str, width: int) -> None:
    axes.set_xlabel("\n".join(wrap(text, width)), fontsize=7, color=FAINT, loc="left", multialignment="left")


def _names(axes: Axes, names: Sequence[str]) -> None:
    style: dict[str, Any] = {"fontsize": 8, "color": INK, "parse_math": False}
    axes.set_yticks(range(len(names)), [short(name, 20) for name in names], **style)
    axes.tick_params(axis="y", length=0)


def _about(found: TokenImportance) -> str:
    return f"for {found.target}"


def _frame(axes: Axes) -> None:
    for side, spine in axes.spines.items():
        spine.set_color(LINE)
        spine.set_linewidth(0.6)
        spine.set_visible(side in ("left", "bottom"))
