"""The pages, and the way from any of them to one head in a text."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.choices import HEAD, LAYER, SITE
from attention_analyzer.dashboard.kept import keep

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from attention_analyzer.dashboard.choices import Place

#: Pages in the order of the menu: address and module of ``pages``, title, icon.
PAGES = (
    ("explore", "Explore", ":material/visibility:"),
    ("generate", "Generate", ":material/edit_note:"),
    ("heads", "Heads", ":material/grid_view:"),
    ("tokens", "Tokens", ":material/format_color_text:"),
    ("files", "Files", ":material/folder_open:"),
    ("language", "Language", ":material/account_tree:"),
    ("compare", "Compare", ":material/compare_arrows:"),
    ("training", "Training", ":material/timeline:"),
)
_WANTED = "page-wanted"


def pages() -> list[StreamlitPage]:
    """All pages; the first is what the bare address shows."""
    return [
        st.Page(_page(name), title=title, icon=icon, url_path=name, default=number == 0)
        for number, (name, title, icon) in enumerate(PAGES)
    ]


def look_at(place: Place) -> None:
    """The callback of a button that leads to a head on the first page; :func:`follow_wish` goes there."""
    choose(place)
    st.session_state[_WANTED] = True


def choose(place: Place) -> None:
    """The boxes of all pages show this head; only to be called before a page draws its boxes."""
    for key, value in ((SITE, f"{place.stack} {place.kind}"), (LAYER, place.layer), (HEAD, place.head)):
        st.session_state[key] = value
        keep(key, value)


def follow_wish(known: list[StreamlitPage]) -> None:
    """Go to the page that a button of the last run asked for."""
    if st.session_state.pop(_WANTED, False):
        st.switch_page(known[0])


def _page(name: str) -> Callable[[], None]:
    def show() -> None:
        from attention_analyzer.dashboard.guard import guarded

        with guarded():
            import_module(f"attention_analyzer.dashboard.pages.{name}").show()

    show.__name__ = name
    return show
