"""What the reader of a page chose, checked against a record: the same names and defaults as the page's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError
from attention_analyzer.media.images import Image
from attention_analyzer.view.static_views.colors import DIVERGING, SEQUENTIAL

DEFAULTS: dict[str, Any] = {
    "view": "heads", "record": 0, "site": "", "head": 0, "heads": [], "query": None, "key": None,
    "pins": [], "keyPins": [], "units": "pieces", "scale": "linear", "threshold": 0.02,
    "hideSpecial": False, "hideSinks": False, "renormalise": False,
    "palette": "blue", "diverging": "blue-orange", "theme": "light", "zoom": None,
    "sort": "layer", "group": "layer", "segments": "all", "direction": "all", "shade": "from", "order": "weight",
    "image": 0,
    "level": "", "values": "weight", "open": None,
}  # fmt: skip


class ViewSettings(TypedDict, total=False):
    """Entries of a state that a view's figure takes as keywords (the view, layer and head are arguments already)."""

    record: int
    site: str
    heads: Sequence[int]
    query: int | None
    key: int | None
    pins: Sequence[int]
    keyPins: Sequence[int]
    units: str
    scale: str
    threshold: float
    hideSpecial: bool
    hideSinks: bool
    renormalise: bool
    palette: str
    diverging: str
    theme: str
    zoom: Any
    sort: str
    group: str
    segments: str
    direction: str
    shade: str
    order: str
    image: int
    level: str
    values: str
    open: Sequence[int] | None


_CHOICES: dict[str, tuple[str, ...]] = {
    "view": ("heads", "matrix", "arcs", "text", "parts", "products", "space", "difference", "picture", "sound"),
    "units": ("pieces", "words"),
    "scale": ("linear", "log"),
    "palette": tuple(SEQUENTIAL),
    "diverging": tuple(DIVERGING),
    "theme": ("auto", "light", "dark"),
    "segments": ("all", "0>0", "0>1", "1>0", "1>1"),
    "direction": ("all", "earlier", "itself", "later"),
    "order": ("weight", "position"),
    "values": ("weight", "above_chance"),
}


def checked_state(
    given: Mapping[str, Any], record: CapturedAttention, other: CapturedAttention | None
) -> dict[str, Any]:
    """A whole state.

    Raises:
        InputError: a key or value that the page does not know, or one that this record does not have.
    """
    unknown = set(given) - set(DEFAULTS)
    if unknown:
        raise InputError(f"A view has no setting {min(unknown)!r}; its settings are {', '.join(DEFAULTS)}.")
    state = {**DEFAULTS, **given}
    for name, allowed in _CHOICES.items():
        if state[name] not in allowed:
            raise InputError(f"{name}={state[name]!r} is not one of {', '.join(allowed)}.")
    if state["view"] == "difference" and other is None:
        raise InputError("The difference view needs a second record.")
    if state["record"] not in ((0,) if other is None else (0, 1)):
        raise InputError(f"There is no record {state['record']!r}; records are counted from 0.")
    shown = record if other is None or not state["record"] else other
    state["site"] = state["site"] or shown.sites[0].name
    entry = shown.entry(name=state["site"])
    _, queries, keys = entry.weights.shape
    if not _is_position(state["head"], entry.site.heads):
        raise InputError(f"{state['site']} has {entry.site.heads} heads, and no head {state['head']!r}.")
    for name, count in (("query", queries), ("key", keys)):
        if state[name] is not None and not _is_position(state[name], count):
            raise InputError(f"{state['site']} has {count} positions on its {name} axis, and no {state[name]!r}.")
    images = sum(isinstance(medium, Image) for medium in shown.media)
    if not _is_position(state["image"], max(images, 1)):
        raise InputError(f"The record has {images} images, counted from 0, and no image {state['image']!r}.")
    for name, count in (("pins", queries), ("keyPins", keys)):
        if not all(_is_position(pin, count) for pin in state[name]):
            raise InputError(f"{name}={state[name]!r} are no positions below {count}.")
    return state


def _is_position(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count
