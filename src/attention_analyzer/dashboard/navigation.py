"""The pages, and the way from any of them to one head in a text."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.inputs import HEAD, LAYER, SITE

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from attention_analyzer.dashboard.inputs import Place

#: Pages in the order of the menu: address and module of ``pages``, title, icon.
PAGES = (
    ("explore", "Explore", ":material/visibility:"),
    ("generate", "Generate", ":material/edit_note:"),
    ("conversation", "Conversation", ":material/forum:"),
    ("heads", "Heads", ":material/grid_view:"),
    ("tokens", "Tokens", ":material/format_color_text:"),
    ("files", "Files", ":material/folder_open:"),
    ("language", "Language", ":material/account_tree:"),
    ("compare", "Compare", ":material/compare_arrows:"),
    ("training", "Training", ":material/timeline:"),
)


def pages() -> list[StreamlitPage]:
    """All pages; the first is what the bare address shows."""
    return [
        st.Page(_page(name), title=title, icon=icon, url_path=name, default=number == 0)
        for number, (name, title, icon) in enumerate(PAGES)
    ]


def link_to(place: Place) -> None:
    """A link to a head on the first page."""
    chosen = {LAYER: str(place.layer), HEAD: str(place.head)}
    if place.stack:
        chosen[SITE] = f"{place.stack} {place.kind}"
    st.page_link(pages()[0], label=f"Look at {place} in a text", icon=":material/visibility:", query_params=chosen)


def _page(name: str) -> Callable[[], None]:
    def show() -> None:
        from attention_analyzer.dashboard.error_boundary import guarded

        with guarded():
            import_module(f"attention_analyzer.dashboard.pages.{name}").show()

    show.__name__ = name
    return show
