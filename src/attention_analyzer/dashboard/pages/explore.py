"""Explore: a text, its heads, one head in words, and what happens if it looks elsewhere."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from attention_analyzer.dashboard.choices import HEAD, LAYER, analyzer_of, head_boxes, model_box, record_of, text_boxes
from attention_analyzer.dashboard.export import offer_figure, offer_file, offer_script, offer_table
from attention_analyzer.dashboard.viewer_component import attention_view
from attention_analyzer.dashboard.words import MEANINGS, goals, reach, spread
from attention_analyzer.record import AttentionRecord


def show() -> None:
    st.header("What do the heads look at?")
    models = model_box()
    text, second = text_boxes()
    if not models or not text.strip():
        st.info("Choose a model and type a text; everything else appears at once.")
        return
    shown = models[0]
    if len(models) > 1:
        shown = st.segmented_control("Shown", models, default=models[0], key="shown") or models[0]
    given = (text, second) if second.strip() else text
    truncate = st.session_state.get("truncate", False)
    with st.spinner("Reading the text …"):
        record = record_of(shown, given, truncate)
    key = f"view-{shown}"
    attention_view(record, key=key, height=680, on_select=_follow)
    stack, kind, layer, head = head_boxes(record)
    table = heads_of(shown, given, truncate)
    row = table[
        (table["stack"] == stack) & (table["kind"] == kind) & (table["layer"] == layer) & (table["head"] == head)
    ].iloc[0]
    left, right = st.columns(2)
    with left:
        st.subheader(f"L{layer}H{head} in words")
        numbers = {str(name): float(row[name]) for name in MEANINGS}
        for sentence in (spread(numbers), reach(numbers), goals(numbers)):
            st.markdown(f"- {sentence}")
        _labels(shown, given, truncate, (stack, kind, layer, head))
    with right:
        _what_if(shown, given, record, (stack, kind, layer, head))
    with st.expander("All heads in numbers"):
        st.dataframe(
            table,
            hide_index=True,
            column_config={name: st.column_config.NumberColumn(help=text) for name, text in MEANINGS.items()},
        )
    with st.expander("Export"):
        _export(shown, given, record, table, layer, head)


@st.cache_data(max_entries=100, show_spinner=False)
def heads_of(name: str, given: str | tuple[str, str], truncate: bool) -> pd.DataFrame:
    """The head table of a record."""
    return record_of(name, given, truncate).heads()


def _follow(selection: dict[str, object]) -> None:
    """What was chosen in the viewer is chosen in the boxes too."""
    for key in (LAYER, HEAD):
        if isinstance(selection.get(key), int):
            st.session_state[key] = selection[key]


def _labels(name: str, given: str | tuple[str, str], truncate: bool, place: tuple[str, str, int, int]) -> None:
    """Placeholder for pattern labels."""


def _what_if(
    name: str, given: str | tuple[str, str], record: AttentionRecord, place: tuple[str, str, int, int]
) -> None:
    """Placeholder for interventions."""


def _export(
    name: str, given: str | tuple[str, str], record: AttentionRecord, table: pd.DataFrame, layer: int, head: int
) -> None:
    offer_table(table, "heads")
    offer_figure(record.figure(layer, head), f"L{layer}H{head}")
    offer_file("Page (HTML)", lambda: record.html().encode(), "attention.html", "text/html")
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({name!r})",
            f"record = analyzer.record({given!r})",
            "print(record.heads())",
            f'record.figure(layer={layer}, head={head}).savefig("L{layer}H{head}.svg")',
            'record.to_html("attention.html")',
        ]
    )
