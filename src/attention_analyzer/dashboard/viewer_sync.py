"""The viewer and the boxes choose the same head, query and key, whichever a person uses; the address has them too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.inputs import HEAD, KEY, LAYER, QUERY, SITE, VIEW, Place
from attention_analyzer.dashboard.persistence import keep, restore
from attention_analyzer.dashboard.viewer_component import attention_view, selection_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attention_analyzer.record import AttentionRecord
    from attention_analyzer.text.tokens import Tokens

#: Axes of more tokens than this are chosen by number: a list of them all would be sent to the page each time.
MOST_LISTED = 1000
#: What the viewer opens with.
_FIRST_VIEW = "heads"


def token_boxes(record: AttentionRecord, place: Place) -> tuple[int | None, int | None]:
    """Boxes for a query and a key of the chosen head; None for what is not chosen."""
    entry = record.entry(name=place.site)
    columns = st.columns(2)
    query = _token_box(columns[0], "From (query)", QUERY, entry.queries)
    key = _token_box(columns[1], "To (key)", KEY, entry.keys)
    return query, key


def _token_box(column: Any, label: str, key: str, tokens: Tokens) -> int | None:
    restore(key)
    if key in st.session_state and not _is_position(st.session_state[key], len(tokens)):
        st.session_state[key] = None
    if len(tokens) > MOST_LISTED:
        value = column.number_input(
            label, 0, len(tokens) - 1, None, key=key, bind="query-params", placeholder="Token position"
        )
    else:
        value = column.selectbox(
            label,
            range(len(tokens)),
            None,
            format_func=partial(shown_token, tokens.pieces),
            key=key,
            bind="query-params",
            placeholder="Choose a token, here or in the viewer",
        )
    keep(key, value)
    return value


def shown_token(pieces: Sequence[str], position: int) -> str:
    """A token with its number, which tells equal ones apart."""
    piece = pieces[position]
    return f"{position} {piece.strip() or repr(piece)[1:-1] or '(empty)'}"


def linked_view(
    record: AttentionRecord,
    place: Place,
    query: int | None,
    key: int | None,
    *,
    name: str,
    height: int = 640,
    on_choose: Callable[[], None] | None = None,
    **options: Any,
) -> None:
    """The viewer, showing what the boxes say; what is chosen in it is chosen in the boxes.

    Args:
        name: names this viewer from run to run.
        on_choose: called besides, when something was chosen in this viewer.
        options: as in :func:`.viewer_component.attention_view`.
    """
    restore(VIEW)
    view = st.session_state.get(VIEW) or st.query_params.get(VIEW, _FIRST_VIEW)
    wanted = {"view": view, "site": place.site, "head": place.head, "query": query, "key": key}

    def choose(selection: dict[str, Any]) -> None:
        follow(selection)
        if on_choose is not None:
            on_choose()

    attention_view(record, key=name, height=height, state=_to_push(name, wanted), on_select=choose, **options)


def follow(selection: dict[str, Any]) -> None:
    """What was chosen in a viewer is chosen in the boxes and in the address."""
    if not selection:
        return
    st.session_state[SITE] = f"{selection['stack']} {selection['kind']}"
    for key in (LAYER, HEAD, QUERY, KEY, VIEW):
        st.session_state[key] = selection.get(key)
        keep(key, selection.get(key))
    keep(SITE, st.session_state[SITE])
    if selection.get(VIEW, _FIRST_VIEW) != _FIRST_VIEW:
        st.query_params[VIEW] = selection[VIEW]
    elif VIEW in st.query_params:
        del st.query_params[VIEW]


def _to_push(name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """The state a viewer is given: a new one only where the boxes say something else than its reader chose there."""
    told = selection_of(name)
    place = f"pushed-{name}"
    if told:
        site = f"{told['stack']}.{told['kind']}.{told['layer']}"
        now = {"view": told.get("view"), "site": site, "head": told.get("head")}
        now |= {"query": told.get("query"), "key": told.get("key")}
        if now == wanted and place in st.session_state:
            return dict(st.session_state[place])
    st.session_state[place] = wanted
    return wanted


def _is_position(value: Any, size: int) -> bool:
    return isinstance(value, int) and 0 <= value < size
