"""The dashboard's frame: navigation, and around each page what catches its errors."""

from __future__ import annotations

import numpy as np
import streamlit as st
from PIL import Image

from attention_analyzer.dashboard.navigation import pages


def main() -> None:
    """Draw the dashboard once, as Streamlit asks at every interaction."""
    st.set_page_config("Attention Analyzer", _icon(), layout="wide")
    chosen = st.navigation(pages())
    with st.sidebar:
        st.caption(
            "Attention weights show where a head attends, not how the model uses it. Only interventions and deletion "
            "tests measure effects."
        )
    chosen.run()


def _icon() -> Image.Image:
    """A causal pattern in a browser's tab; drawn, because named icons come from a network."""
    size, colors = 8, np.array([[230, 238, 248], [33, 102, 172]], np.uint8)
    rows, columns = np.indices((size, size))
    seen = (columns == rows) | (columns == 0) | ((columns < rows) & ((rows - columns) % 3 == 1))
    return Image.fromarray(colors[seen.astype(int)].repeat(4, 0).repeat(4, 1))
