"""Start: the questions that the dashboard answers, each with examples to open."""

from __future__ import annotations

import streamlit as st

from attention_analyzer.dashboard.navigation import PAGES, Entry, entry_of, page_of

#: Cards in a row; on a phone they stand below each other.
_ACROSS = 3


def show() -> None:
    if st.query_params:
        # A link to a text from before there was a start page.
        st.switch_page(page_of(entry_of("explore")), query_params=dict(st.query_params))
    st.header("What do the attention heads of a transformer do?")
    st.markdown("Open an example, or choose a page from the menu and enter your own text.")
    entries = [entry for entry in PAGES if entry.question]
    for start in range(0, len(entries), _ACROSS):
        for column, entry in zip(st.columns(_ACROSS), entries[start : start + _ACROSS], strict=False):
            with column:
                _card(entry)
    st.caption(
        "Everything runs on this machine. Every page shows the Python code that reproduces it, and exports its tables "
        "and figures."
    )


def _card(entry: Entry) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{entry.question}**")
        st.caption(entry.answer)
        for label, state in entry.examples:
            st.page_link(page_of(entry), label=label, icon=":material/arrow_forward:", query_params=state)
