"""Widgets that keep their value: in the page's address, from page to page, and over a reload however long a text is.

Streamlit forgets a widget that a page does not show, and an address holds only so many characters. So every value is
noted for its session as well, and a long text lies on a shelf of the server under a name that only its content gives.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from typing import Any, Literal

import streamlit as st

#: Characters of a text that still go into the address; servers refuse addresses of more than some ten thousand bytes.
LONGEST_LINK = 2_000
_SHELVED = "-shelf"


class Shelf:
    """Texts by the hash of their content; the oldest fall off."""

    def __init__(self, most: int = 200) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._most = most
        self._lock = Lock()

    def put(self, text: str) -> str:
        """Keep a text; returns its name."""
        name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        with self._lock:
            self._texts[name] = text
            self._texts.move_to_end(name)
            if len(self._texts) > self._most:
                self._texts.popitem(last=False)
        return name

    def get(self, name: str) -> str | None:
        """The text, if it still lies there."""
        with self._lock:
            return self._texts.get(name)


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The server's shelf, shared by all sessions: a link to a long text works for others too."""
    return Shelf()


def restore(key: str, otherwise: Any = None) -> None:
    """Before a widget is drawn: the value that this session or the address has for it, or else the given one.

    A widget whose value is set like this has no default of its own, so that the address always says what is shown.
    """
    if key in st.session_state:
        return
    shelved = st.query_params.get(f"{key}{_SHELVED}")
    text = None if shelved is None else shelf().get(shelved)
    if text is not None:
        st.session_state[key] = text
    elif key not in st.query_params:
        value = st.session_state.get(f"kept-{key}", otherwise)
        if value is not None:
            st.session_state[key] = value


def keep(key: str, value: Any) -> None:
    """After a widget is drawn: note its value for pages and sessions to come."""
    st.session_state[f"kept-{key}"] = value
    name = f"{key}{_SHELVED}"
    if isinstance(value, str) and len(value) > LONGEST_LINK:
        st.query_params[name] = shelf().put(value)
    elif name in st.query_params:
        del st.query_params[name]


def text_box(label: str, default: str, key: str, examples: Collection[str] = (), **options: Any) -> str:
    """A text area whose text survives; one of these examples gives way to the default, for nobody has typed it."""
    restore(key, default)
    if st.session_state.get(key) in examples:
        st.session_state[key] = default
    short = len(st.session_state.get(key) or "") <= LONGEST_LINK
    bind: Literal["query-params"] | None = "query-params" if short else None
    text = st.text_area(label, key=key, bind=bind, **options) or ""
    keep(key, text)
    return text
