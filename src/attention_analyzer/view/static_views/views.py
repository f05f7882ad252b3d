"""What a page shows, as a figure for print: the same choice of view, head, tokens and colors, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.view.annotations import Annotations
from attention_analyzer.view.static_views.arcs import arcs
from attention_analyzer.view.static_views.grid import difference, matrix
from attention_analyzer.view.static_views.heads import heads
from attention_analyzer.view.static_views.parts import parts
from attention_analyzer.view.static_views.picture import picture, sound
from attention_analyzer.view.static_views.qk import products
from attention_analyzer.view.static_views.scene3d import space
from attention_analyzer.view.static_views.screen import Screen
from attention_analyzer.view.static_views.state import checked_state
from attention_analyzer.view.static_views.text import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWS: dict[str, Callable[[Screen], Figure]] = {
    "heads": heads,
    "matrix": matrix,
    "arcs": arcs,
    "text": text,
    "parts": parts,
    "products": products,
    "space": space,
    "difference": difference,
    "picture": picture,
    "sound": sound,
}


def view_figure(
    record: CapturedAttention,
    view: str | Mapping[str, Any],
    other: CapturedAttention | None = None,
    *,
    layer: int | None = None,
    stack: str | None = None,
    kind: Any = None,
    annotations: Annotations | None = None,
    **settings: Any,
) -> Figure:
    """The figure of a view.

    Args:
        view: its name, or the state of a page or widget (``record.figure(view=widget.state)``).
        other: the second record of the page.
        layer, stack, kind: the site, instead of the state's ``site``.
        annotations: those of the page: tracks, labels, clusters.
        settings: further entries of the state, such as ``head=3, query=5, scale="log", hideSpecial=True``;
            docs/payload.md lists them.

    Raises:
        InputError: a setting that there is not, or that does not fit the record.
        SelectionError: no such site, track or grouping.
        TooLongError: the view of so long a text does not fit a figure.
    """
    state = {**({"view": view} if isinstance(view, str) else view), **settings}
    if layer is not None:
        state["site"] = record.entry(layer, stack=stack, kind=kind).site.name
    whole = checked_state(state, record, other)
    shown = record if other is None or not whole["record"] or whole["view"] == "difference" else other
    own = annotations if shown is record else None
    return VIEWS[whole["view"]](Screen(shown, whole, other, own))
