"""What if the model looked elsewhere? Weights knocked out, heads silenced, and the prediction read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.inputs import Place
from attention_analyzer.dashboard.model_cache import Given, changed
from attention_analyzer.dashboard.persistence import keep, restore

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.interventions import WhatIf
    from attention_analyzer.record import AttentionRecord

#: Keys of the boxes, and names in the address.
CHANGES, TARGET = "change", "target"
_NUMBERS = {
    "before": "Probability",
    "after": "Probability with the change",
    "kl": "KL divergence of the predictions, in nats",
}


def what_if_panel(
    name: str, given: Given, record: AttentionRecord, place: Place, query: int | None, key: int | None, cut: bool
) -> WhatIf | None:
    """The boxes and the answer; returns it, None while nothing is changed."""
    st.subheader("What changes without this attention?")
    st.caption(
        "An effect, measured: the model runs again with the change, and what it says is compared. Choose a weight in "
        "the picture or in the boxes, or silence the whole head."
    )
    head = _head_name(record, place)
    weight = f"{head}:{query}>{key}"
    left, right = st.columns(2)
    ready = query is not None and key is not None
    left.button(
        f"Knock out this weight ({_edge(record, place, query, key)})" if ready else "Knock out a weight",
        disabled=not ready,
        on_click=_add,
        args=(weight,),
        help=None if ready else "Choose a query and a key first (From and To).",
        width="stretch",
    )
    right.button(f"Ablate {head}", on_click=_add, args=(head,), width="stretch")
    restore(CHANGES)
    st.session_state[CHANGES] = list(st.session_state.get(CHANGES) or ())
    columns = st.columns([3, 1])
    changes = columns[0].multiselect(
        "Changes",
        st.session_state[CHANGES],
        key=CHANGES,
        bind="query-params",
        accept_new_options=True,
        placeholder="None yet. Type L2H5 (head), L2 (layer) or L2H5:7>3 (one weight)",
        help="L2H5 ablates a head, L2 all heads of a layer; L2H5:7>3 hides token 3 from token 7 in one head, and * "
        "stands for all tokens.",
    )
    keep(CHANGES, changes)
    restore(TARGET)
    target = columns[1].text_input(
        "Target", key=TARGET, bind="query-params", placeholder="most likely", help="The token or class to follow."
    )
    keep(TARGET, target)
    if not changes:
        return None
    edges = tuple(change for change in changes if ":" in change or ">" in change)
    heads = tuple(change for change in changes if change not in edges)
    found = changed(name, given, edges, heads, target or None, cut)
    st.markdown(f"**{plain(str(found))}**")
    left, right = st.columns(2)
    left.dataframe(found.table, hide_index=True, column_config=_bars(found.table))
    right.dataframe(found.positions, hide_index=True, column_config=_bars(found.positions))
    return found


def what_if_script(found: WhatIf | None) -> list[str]:
    """The lines of Python that ask the same."""
    if found is None:
        return []
    changes = st.session_state.get(CHANGES, [])
    edges = [change for change in changes if ":" in change or ">" in change]
    heads = [change for change in changes if change not in edges]
    target = st.session_state.get(TARGET)
    options = [f"knock_out={edges!r}"] * bool(edges) + [f"ablate={heads!r}"] * bool(heads)
    options += [f"target={target!r}"] * bool(target)
    return [
        f"found = record.what_if({', '.join(options)})",
        "print(found)",
        'found.table.to_csv("changes.csv", index=False)',
    ]


def _add(change: str) -> None:
    """One more change; a head is either silent or loses single weights, so the later wish counts."""
    head = change.split(":", 1)[0]
    known = st.session_state.get(CHANGES) or ()
    others = [each for each in known if each != head and (change != head or not each.startswith(f"{head}:"))]
    st.session_state[CHANGES] = [*(each for each in others if each != change), change]


def _head_name(record: AttentionRecord, place: Place) -> str:
    """The head as interventions name it: with its stack where the model has several."""
    from attention_analyzer.interventions.selection import head_name

    return head_name((record.entry(name=place.site).site, place.head), record.sites)


def _edge(record: AttentionRecord, place: Place, query: int | None, key: int | None) -> str:
    entry = record.entry(name=place.site)
    pieces = [tokens.pieces[at].strip() for tokens, at in ((entry.queries, query or 0), (entry.keys, key or 0))]
    return plain(" → ".join(pieces))


def _bars(table: pd.DataFrame) -> dict[str, object]:
    """Probabilities as bars; other numbers as they are."""
    columns: dict[str, object] = {}
    for name in table:
        if name in ("before", "after") and table[name].dtype.kind == "f" and table[name].between(0, 1).all():
            columns[name] = st.column_config.ProgressColumn(
                help=_NUMBERS[name], format="percent", min_value=0.0, max_value=1.0
            )
        elif name in _NUMBERS:
            columns[name] = st.column_config.Column(help=_NUMBERS[name])
    return columns
