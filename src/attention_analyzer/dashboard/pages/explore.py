"""Explore: a text, its heads, and one head in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import offer_figure, offer_file, offer_script, offer_table
from attention_analyzer.dashboard.first_paint import is_opening, opening_view
from attention_analyzer.dashboard.head_summary import MEANINGS, goals, labels, reach, spread, weight
from attention_analyzer.dashboard.inputs import Place, head_boxes, model_box, reading, texts_box
from attention_analyzer.dashboard.model_cache import Given, heads_of, patterns_of
from attention_analyzer.dashboard.viewer_sync import linked_view, token_boxes
from attention_analyzer.dashboard.what_if import what_if_panel, what_if_script

if TYPE_CHECKING:
    from attention_analyzer.interventions import WhatIf
    from attention_analyzer.record import AttentionRecord

#: How many models are shown side by side.
MOST_MODELS = 3
#: Pixels of a viewer's height.
ALONE, ONE_OF_SEVERAL = 680, 560
_DETAIL = "detail"


def show() -> None:
    st.header("What do the heads look at?")
    models = model_box(MOST_MODELS)
    given = texts_box(models)
    if not models or given is None:
        st.info("Choose a model and enter a text to start.")
        return
    name = _in_detail(models)
    if is_opening(models, given):
        with st.container(), st.columns(1)[0]:  # where the viewer is drawn below, so that it stays
            opening_view(f"view-{name}", ALONE)
        reading(name, given)
        st.rerun()
    records = {model: reading(model, given) for model in models}
    record, cut = records[name]
    views = st.container()
    place = head_boxes(record)
    query, key = token_boxes(record, place)
    with views:
        columns = st.columns(len(models))
        for model, column in zip(models, columns, strict=True):
            with column:
                _view(model, records[model][0], place, (query, key), detail=model == name, alone=len(models) == 1)
    table = heads_of(name, given, cut)
    row = _of_head(table, place).iloc[0]
    st.subheader(f"{place} in words")
    if query is not None and key is not None:
        st.markdown(f"- {weight(record, place, query, key)}")
    for sentence in labels(place, record):
        st.markdown(f"- {sentence}")
    numbers = {str(name): float(row[name]) for name in MEANINGS}
    for sentence in (spread(numbers), reach(numbers), goals(numbers)):
        st.markdown(f"- {sentence}")
    st.caption(
        "Strengths are shares of the attention in this one text, from 0 to 1; a control is what evenly spread "
        "attention or the position alone would give. Results on one text may not generalize; the Heads page labels "
        "heads from several texts."
    )
    found = what_if_panel(name, given, record, place, query, key, cut)
    with st.expander("All heads: metrics"):
        show_table(
            table,
            column_config={name: st.column_config.NumberColumn(help=text) for name, text in MEANINGS.items()},
        )
    with st.expander("Export"):
        _export(name, given, record, cut, table, place, found)
    where = f"layer={place.layer}, head={place.head}, stack={place.stack!r}, kind={place.kind!r}"
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({name!r})",
            f"record = analyzer.record({given!r}{', truncate=True' if cut else ''})",
            'record.heads().to_csv("heads.csv", index=False)',
            'record.patterns().to_csv("patterns.csv", index=False)',
            f'record.figure({where}).savefig("{place}.svg")',
            'record.to_html("attention.html")',
            *what_if_script(found),
        ]
    )


def _of_head(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    """The rows of one head."""
    wanted = {"stack": place.stack, "kind": place.kind, "layer": place.layer, "head": place.head}
    return table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]


def _in_detail(models: tuple[str, ...]) -> str:
    """Which of several models the words are about."""
    if len(models) == 1:
        return models[0]
    if st.session_state.get(_DETAIL) not in models:
        st.session_state[_DETAIL] = models[0]
    return st.segmented_control("Details for", models, key=_DETAIL, format_func=plain, required=True) or models[0]


def _view(
    model: str,
    record: AttentionRecord,
    place: Place,
    chosen: tuple[int | None, int | None],
    *,
    detail: bool,
    alone: bool,
) -> None:
    """One model's viewer; the one in detail follows the boxes, and any that is used becomes that one."""

    def choose() -> None:
        if not alone:
            st.session_state[_DETAIL] = model

    if not alone:
        st.markdown(f"**{plain(model)}**" if detail else plain(model))
    here = place if detail or place.site in [site.name for site in record.sites] else None
    if here is None or here.head >= record.entry(name=here.site).site.heads:
        first = record.sites[0]
        here = Place(first.stack, first.kind, first.layer, 0)
    query, key = chosen if detail else (None, None)
    height = ALONE if alone else ONE_OF_SEVERAL
    linked_view(record, here, query, key, name=f"view-{model}", height=height, on_choose=choose)


def _export(
    name: str,
    given: Given,
    record: AttentionRecord,
    cut: bool,
    table: pd.DataFrame,
    place: Place,
    found: WhatIf | None,
) -> None:
    offer_table(table, "heads", "All heads")
    offer_table(patterns_of(name, given, cut), "patterns", "All patterns")
    offer_figure(
        lambda: record.figure(place.layer, place.head, stack=place.stack, kind=place.kind), str(place), f"{place}"
    )
    if found is not None:
        offer_table(found.table, "changes", "What changed")
        offer_figure(found.plot, "what-if", "What changed")
    offer_file("Page (HTML)", lambda: record.html().encode(), "attention.html", "text/html")
