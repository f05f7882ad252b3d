"""What a person can take away from a page: tables, figures, the page itself, and a script that makes it all again.

Everything is made when its button is pressed, not when the page is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.error_boundary import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from attention_analyzer.result import Result

_TABLES = {"CSV": "text/csv", "Parquet": "application/vnd.apache.parquet", "JSON": "application/json"}
_FIGURES = {"SVG": "image/svg+xml", "PNG": "image/png", "PDF": "application/pdf"}


def cautions_of(found: Result) -> None:
    """What a result says of numbers that rest on too little."""
    for caution in found.cautions():
        st.warning(plain(f"This {caution}."), icon=":material/info:")


def offer_table(table: pd.DataFrame, name: str, title: str = "Table") -> None:
    """Buttons that save a table as CSV, Parquet or JSON."""
    _buttons(title, name, _TABLES, lambda kind: table_bytes(table, kind))


def offer_figure(figure: Callable[[], Figure], name: str, title: str = "Figure") -> None:
    """Buttons that save a figure as SVG, PNG or PDF."""
    _buttons(title, name, _FIGURES, lambda kind: figure_bytes(figure(), kind))


def offer_file(label: str, content: bytes | Callable[[], bytes], name: str, mime: str) -> None:
    """One button that saves a file."""
    st.download_button(label, content, name, mime, key=f"file-{name}", on_click="ignore", icon=":material/download:")


def offer_script(lines: list[str], name: str = "attention", *, analyzer: bool = True) -> None:
    """The Python that reproduces the page, folded, to copy or save; it begins with the import of the analyzer."""
    start = ["from attention_analyzer import AttentionAnalyzer", ""] if analyzer else []
    code = "\n".join([*start, *lines, ""])
    with st.expander("Show me the code", icon=":material/code:"):
        st.code(code, language="python", wrap_lines=True)
        offer_file("Script", code.encode(), f"{name}.py", "text/x-python")


def table_bytes(table: pd.DataFrame, kind: str) -> bytes:
    """A table as the bytes of a file."""
    if kind == "CSV":
        return table.to_csv(index=False).encode()
    if kind == "JSON":
        return table.to_json(orient="records", force_ascii=False).encode()
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    return content.getvalue()


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a file."""
    content = io.BytesIO()
    figure.savefig(content, format=kind.lower(), dpi=200)
    return content.getvalue()


def _buttons(title: str, name: str, kinds: dict[str, str], make: Callable[[str], bytes]) -> None:
    first, *rest = st.columns([2, *[1] * len(kinds)], vertical_alignment="center")
    first.markdown(title)
    for column, (kind, mime) in zip(rest, kinds.items(), strict=True):
        column.download_button(
            kind,
            lambda kind=kind: make(kind),
            f"{name}.{kind.lower()}",
            mime,
            key=f"{name}-{kind}",
            on_click="ignore",
            width="stretch",
        )


def show_figure(figure: Callable[[], Figure], key: Hashable, words: str = "") -> None:
    """Draw a figure on the page, once for the same key; in lines, so that it stays sharp.

    Args:
        words: what it shows, for those who cannot see it.
    """
    drawing, width = _drawn(key, figure)
    st.image(drawing, width=width, alt=words or None)


@st.cache_data(max_entries=100, show_spinner="Drawing …")
def _drawn(key: Hashable, _figure: Callable[[], Figure]) -> tuple[str, int]:  # noqa: ARG001 (Streamlit remembers by it)
    """The drawing, and its width in pixels of a screen."""
    figure = _figure()
    return figure_bytes(figure, "SVG").decode(), round(figure.get_figwidth() * 110)
