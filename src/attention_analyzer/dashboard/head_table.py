"""A table with a row for each head: choosing a row leads to that head in a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.inputs import Place
from attention_analyzer.dashboard.navigation import link_to

if TYPE_CHECKING:
    import pandas as pd


def head_table(table: pd.DataFrame, name: str, **options: Any) -> Place | None:
    """Show the table, and for the chosen row a link to its head.

    Args:
        table: with the columns ``layer`` and ``head``, empty in rows that are of no single head, and ``stack`` and
            ``kind`` where there are several.
        name: names this table on its page.
        options: of :func:`streamlit.dataframe`.

    Returns:
        The head of the chosen row.
    """
    shown = show_table(table, on_select="rerun", selection_mode="single-row", key=f"rows-{name}", **options)
    rows = shown.selection.rows
    place = _place(table.iloc[rows[0]]) if rows and rows[0] < len(table) else None
    if place is None:
        st.caption("Select a row to open its head in Explore.")
    else:
        link_to(place)
    return place


def _place(row: pd.Series[Any]) -> Place | None:
    import pandas as pd

    if pd.isna(row["layer"]) or pd.isna(row["head"]):
        return None
    return Place(row.get("stack", ""), row.get("kind", "self"), int(row["layer"]), int(row["head"]))
