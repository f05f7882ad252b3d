"""The Heads view as a figure: every head as a small picture, in rows of layers or sorted and grouped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_analyzer.errors import SelectionError
from attention_analyzer.metrics.head_table import head_table
from attention_analyzer.site import Site
from attention_analyzer.view.content import record_annotations
from attention_analyzer.view.downsample import coarse
from attention_analyzer.view.static_views.colors import color_map, square_root
from attention_analyzer.view.static_views.frame import SIZE, blank_axes, caption, cut, figure_of, legend, write
from attention_analyzer.view.static_views.screen import Screen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, GAP, GUTTER, TOP, NAME = 62.0, 6.0, 34.0, 56.0, 12.0
#: Heads in a line where lines are not layers.
ABREAST = 8
NO_NAME, ALONE = "no pattern", "like no other"
QUARTERS = ("highest", "second", "third", "lowest")


@dataclass(frozen=True)
class _Head:
    site: Site
    head: int
    index: int
    picture: np.ndarray
    value: float | None
    name: str


def heads(screen: Screen) -> Figure:
    """Sections by place in the model, layer, number, pattern or cluster, as the page groups them.

    Raises:
        SelectionError: heads cannot be sorted or grouped by that.
    """
    theme = screen.theme
    sections = _sections(screen)
    lines: list[tuple[str, str, list[_Head]]] = []
    for title, rows in sections:
        for number, (label, members) in enumerate(rows):
            lines.append((title if number == 0 else "", label, members))
    across = max(len(members) for _, _, members in lines)
    pitch = SIDE + GAP
    width = max(GUTTER + across * pitch + 12, 380)
    height = TOP + sum((22 if title else 0) + pitch + NAME for title, _, _ in lines) + 24
    figure = figure_of(screen, width / 72, height / 72)
    axes = blank_axes(figure, (0, 0, 1, 1))
    colors, norm = color_map(screen.state["palette"], theme.dark), square_root()
    y, image = TOP, None
    compared = [(site, int(head)) for site, head in screen.state["heads"]]
    for title, label, members in lines:
        if title:
            write(axes, 12, y + 9, title, theme.text, fontweight="bold")
            y += 22
        write(axes, GUTTER - 6, y + SIDE / 2, label, theme.muted, ha="right")
        for column, member in enumerate(members):
            x = GUTTER + column * pitch
            small = figure.add_axes((x / width, 1 - (y + SIDE) / height, SIDE / width, SIDE / height))
            image = small.imshow(member.picture, cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
            small.set_xticks([])
            small.set_yticks([])
            place = (member.site.name, member.head)
            chosen = place == (screen.state["site"], screen.state["head"])
            color = screen.head_color(compared.index(place) + 1) if place in compared else theme.line
            for spine in small.spines.values():
                spine.set_color(theme.accent if chosen else color)
                spine.set_linewidth(2 if chosen or place in compared else 0.6)
            what = member.name.replace("_", " ") if member.value is None else f"{member.value:.3g}"
            name = f"L{member.site.layer}H{member.head} {what}"
            write(axes, x, y + SIDE + 6, cut(name), theme.accent if chosen else theme.muted, fontsize=SIZE - 2.5)
        y += pitch + NAME
    caption(figure, screen, screen.record.model_name or "All heads", "rows: queries, columns: keys")
    legend(figure, screen, image, "weight")
    return figure


def _sections(screen: Screen) -> list[tuple[str, list[tuple[str, list[_Head]]]]]:
    """``(title, rows)`` with rows of ``(label, heads)``."""
    state, record = screen.state, screen.record
    pictures = {entry.site: coarse(entry.weights).pictures for entry in record.entries}
    added = record_annotations(record, screen.annotations, list(pictures.values()))
    columns: dict[str, Any] = {"layer": None}
    table = head_table(record)
    columns |= {name: table[name].tolist() for name in table.columns if name not in ("stack", "kind", "layer", "head")}
    columns |= {f"pattern:{name}": values for name, values in added["patterns"].items()}
    if state["sort"] not in columns:
        raise SelectionError(f"Heads cannot be sorted by {state['sort']!r}; they can by {', '.join(columns)}.")
    values = columns[state["sort"]]
    names: dict[tuple[int, int], str] = {}
    for label in added["labels"]:
        names.setdefault((label["site"], label["head"]), label["name"])
    found: list[_Head] = []
    for number, site in enumerate(record.sites):
        for head in range(site.heads):
            value = None if values is None else values[len(found)]
            known = None if value is None or math.isnan(value) else float(value)
            found.append(_Head(site, head, len(found), pictures[site][head], known, names.get((number, head), "")))
    if values is not None:
        found.sort(key=lambda each: -math.inf if each.value is None else each.value, reverse=True)
    title_of = _grouping(screen, found, added["clusters"])
    groups: dict[str, list[_Head]] = {}
    for each in found:
        groups.setdefault(title_of(each), []).append(each)
    ordered = list(groups.items())
    if state["group"] == "pattern" or state["group"].startswith("cluster:"):
        ordered.sort(key=lambda item: (item[0] in (NO_NAME, ALONE), -len(item[1])))
    elif state["group"] == "site":
        ordered.sort(key=lambda item: record.sites.index(item[1][0].site))
    if values is None and state["group"] == "layer":
        return [(title, _by_layer(members)) for title, members in ordered]
    sort = state["sort"].removeprefix("pattern:").replace("_", " ")
    return [
        (title or f"sorted by {sort}", [("", members[at : at + ABREAST]) for at in range(0, len(members), ABREAST)])
        for title, members in ordered
    ]


def _grouping(screen: Screen, found: list[_Head], clusters: list[dict[str, Any]]) -> Callable[[_Head], str]:
    group = screen.state["group"]

    def place(site: Site) -> str:
        return f"{site.stack} {site.kind}-attention" if screen.several_places else ""

    if group == "layer":
        return lambda each: place(each.site)
    if group == "site":
        return lambda each: ", ".join(filter(None, (place(each.site), f"layer {each.site.layer}")))
    if group == "pattern":
        return lambda each: each.name.replace("_", " ") or NO_NAME
    if group == "quarters" and screen.state["sort"] != "layer":
        known = [each.index for each in found if each.value is not None]
        ranks = {index: rank for rank, index in enumerate(known)}
        return lambda each: (
            f"{QUARTERS[4 * ranks[each.index] // len(known)]} quarter" if each.index in ranks else "no value"
        )
    chosen = next((each for each in clusters if f"cluster:{each['name']}" == group), None)
    if chosen is None:
        names = ", ".join(["layer", "site", "quarters", "pattern", *(f"cluster:{each['name']}" for each in clusters)])
        raise SelectionError(f"Heads cannot be grouped by {group!r}; they can by {names}.")
    groups = chosen["groups"]
    return lambda each: str(groups[each.index])


def _by_layer(members: list[_Head]) -> list[tuple[str, list[_Head]]]:
    sites = list(dict.fromkeys(each.site for each in members))
    return [(f"L{site.layer}", [each for each in members if each.site == site]) for site in sites]
