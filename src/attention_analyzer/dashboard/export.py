"""What a person can take away from a page: tables, figures, the page itself, and a script that makes it all again."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def offer_table(table: pd.DataFrame, name: str) -> None:
    """Buttons that save a table as CSV, Parquet or JSON."""
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    files = {
        "CSV": (table.to_csv(index=False).encode(), "text/csv"),
        "Parquet": (parquet.getvalue(), "application/vnd.apache.parquet"),
        "JSON": (table.to_json(orient="records", force_ascii=False).encode(), "application/json"),
    }
    for column, (kind, (content, mime)) in zip(st.columns(len(files)), files.items(), strict=True):
        column.download_button(
            kind, content, f"{name}.{kind.lower()}", mime, key=f"{name}-{kind}", on_click="ignore", width="stretch"
        )


def offer_figure(figure: Figure, name: str) -> None:
    """Buttons that save a figure as SVG, PNG or PDF."""
    kinds = {"SVG": "image/svg+xml", "PNG": "image/png", "PDF": "application/pdf"}
    for column, (kind, mime) in zip(st.columns(len(kinds)), kinds.items(), strict=True):
        content = io.BytesIO()
        figure.savefig(content, format=kind.lower(), dpi=200)
        column.download_button(
            kind,
            content.getvalue(),
            f"{name}.{kind.lower()}",
            mime,
            key=f"{name}-{kind}",
            on_click="ignore",
            width="stretch",
        )


def offer_file(label: str, content: bytes | Callable[[], bytes], name: str, mime: str) -> None:
    """One button that saves a file; a function is called only when the button is pressed."""
    st.download_button(label, content, name, mime, key=f"file-{name}", on_click="ignore", width="stretch")


def offer_script(lines: list[str]) -> None:
    """The Python that makes what is on the page, to copy or save."""
    code = "\n".join(["from attention_analyzer import AttentionAnalyzer", "", *lines, ""])
    st.code(code, language="python")
    st.download_button("Script", code.encode(), "attention.py", "text/x-python", key="script", on_click="ignore")
