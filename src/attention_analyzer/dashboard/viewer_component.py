"""The viewer inside Streamlit, as a component of version 2: no frame, one run of bytes in, a selection back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.view.payload import with_state
from attention_analyzer.view.program import viewer_source

if TYPE_CHECKING:
    from attention_analyzer.record import AttentionRecord

# A line break tells Streamlit that this is a program and not the path of one.
_COMPONENT = st.components.v2.component("attention_view", js=f"{viewer_source()}\n")


def attention_view(
    record: AttentionRecord | bytes,
    *,
    key: str,
    height: int = 640,
    state: Mapping[str, Any] | None = None,
    on_select: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Show a record; returns what the reader chose last, empty before that.

    Args:
        record: a record, or a payload made earlier.
        key: names this view from run to run; what the reader set stays while it is the same.
        height: pixels.
        state: what to show first, as the viewer's state; a changed one is applied.
        on_select: called with the selection before the script runs again.
        options: for a record, as in :func:`attention_analyzer.view.content.payload`.

    Returns:
        ``view``, ``stack``, ``kind``, ``layer``, ``head``, ``query``, ``key``, ``query_text``, ``key_text``, ``pins``.
    """

    def changed() -> None:
        if on_select is not None:
            on_select(selection_of(key))

    bare = record if isinstance(record, bytes) else _payload(record, key, options)
    result = _COMPONENT(
        key=key,
        data=with_state(bare, state) if state else bare,
        height=height,
        default={"selection": {}},
        on_selection_change=changed,
    )
    return _selection(result)


def selection_of(key: str) -> dict[str, Any]:
    """What the reader of a view chose last."""
    return _selection(st.session_state.get(key))


def _payload(record: AttentionRecord, key: str, options: dict[str, Any]) -> bytes:
    """The payload of a run before, where record and options are the same."""
    from attention_analyzer.view.content import payload

    place = f"_attention_view_{key}"
    known = st.session_state.get(place)
    if known is None or known[0] is not record or known[1] != options:
        known = (record, options, payload(record, deflate=False, **options))
        st.session_state[place] = known
    data: bytes = known[2]
    return data


def _selection(result: Any) -> dict[str, Any]:
    selection = result.get("selection") if hasattr(result, "get") else None
    return dict(selection or {})
