"""The dashboard's frame: navigation, and around each page what catches its errors."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
import streamlit as st
from PIL import Image

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


def main() -> None:
    """Draw the dashboard once, as Streamlit asks at every interaction."""
    st.set_page_config("Attention Analyzer", _icon(), layout="wide")
    pages = [
        st.Page(_page(name), title=title, icon=icon, url_path=name, default=number == 0)
        for number, (name, title, icon) in enumerate(PAGES)
    ]
    chosen = st.navigation(pages)
    with st.sidebar:
        st.caption(
            "A weight says where a head looked, not what the model made of it. Effects are measured where a page says "
            "so; everything else is a description."
        )
    chosen.run()


def _icon() -> Image.Image:
    """A causal pattern in a browser's tab; drawn, because named icons come from a network."""
    size, colours = 8, np.array([[230, 238, 248], [33, 102, 172]], np.uint8)
    rows, columns = np.indices((size, size))
    seen = (columns == rows) | (columns == 0) | ((columns < rows) & ((rows - columns) % 3 == 1))
    return Image.fromarray(colours[seen.astype(int)].repeat(4, 0).repeat(4, 1))


def _page(name: str) -> Callable[[], None]:
    def show() -> None:
        from attention_analyzer.dashboard.guard import guarded

        with guarded():
            import_module(f"attention_analyzer.dashboard.pages.{name}").show()

    show.__name__ = name
    return show
