"""The dashboard's frame: navigation, the models and the text on the side, then the page."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import streamlit as st

#: Pages in the order of the menu: address, title, icon, module of ``pages``.
PAGES = (
    ("explore", "Explore", ":material/visibility:"),
    ("generate", "Generate", ":material/edit_note:"),
    ("heads", "Heads", ":material/grid_view:"),
    ("tokens", "Tokens", ":material/format_color_text:"),
    ("files", "Files", ":material/folder_open:"),
)


def main() -> None:
    """Draw the dashboard once, as Streamlit asks at every interaction."""
    st.set_page_config("Attention Analyzer", ":material/hub:", layout="wide")
    pages = [
        st.Page(_page(name), title=title, icon=icon, url_path=name, default=number == 0)
        for number, (name, title, icon) in enumerate(PAGES)
    ]
    chosen = st.navigation(pages)
    chosen.run()
    with st.sidebar:
        st.caption(
            "A weight says where a head looked, not what the model made of it. Effects are measured where the page "
            "says so; everything else is a description."
        )


def _page(name: str) -> Callable[[], None]:
    def show() -> None:
        from attention_analyzer.dashboard.guard import guarded

        with guarded():
            import_module(f"attention_analyzer.dashboard.pages.{name}").show()

    show.__name__ = name
    return show
