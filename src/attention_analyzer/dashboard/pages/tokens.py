"""Tokens: what each method says of their importance, side by side, and how far each can be trusted on this text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.inputs import model_box, texts_box
from attention_analyzer.dashboard.jobs import Job, wait_for
from attention_analyzer.dashboard.model_cache import analyzer_of, own_analyzer
from attention_analyzer.dashboard.persistence import keep, restore

if TYPE_CHECKING:
    from attention_analyzer.attribution import AttributionComparison
    from attention_analyzer.attribution.importance import Unit

METHODS, UNIT, TARGET = "method", "unit", "target"
_UNITS: tuple[Unit, ...] = ("token", "word")
#: What the columns of the table of faithfulness mean.
_MEANINGS = {
    "comprehensiveness": "Drop of the prediction when the most important tokens are deleted: higher is better.",
    "sufficiency": "Drop when only the most important tokens are kept: lower is better.",
    "deletion_area": "Mean prediction during deletion: lower is better.",
    "beats_random": "Number of the three measures on which it beats 95 % of random orders.",
    "worse_than_random": "Number of the three measures on which it is worse than random.",
}


def show() -> None:
    st.header("Which tokens matter?")
    models = model_box()
    given = texts_box(models)
    if not models or given is None:
        st.info("Choose a model and enter a text.")
        return
    name = models[0]
    methods, unit, target = _options()
    if not methods:
        st.info("Choose at least one method.")
        return

    def compare(job: Job) -> AttributionComparison:
        analyzer = own_analyzer(name)
        return analyzer.compare_attributions(
            given, methods=_named(methods), unit=unit, target=target or None, progress=job.progress
        )

    key = ("tokens", analyzer_of(name).fingerprint, given, methods, unit, target)
    found = wait_for(key, "Comparing the methods", compare)
    if found is None:
        return
    st.markdown(plain(found.summary))
    show_figure(found.plot, ("tokens-figure", *key))
    st.subheader("Scores by token")
    scores = found.tokens
    bars = {
        column: st.column_config.ProgressColumn(format="%.3f", min_value=0.0, max_value=float(scores[column].max()))
        for column in scores.columns[2:]
    }
    show_table(scores, column_config=bars)
    st.subheader("How faithful is each method on this text?")
    st.caption("Tokens are deleted in the order a method gives, and the model runs again after each deletion.")
    show_table(
        found.table,
        column_config={column: st.column_config.NumberColumn(help=text) for column, text in _MEANINGS.items()},
    )
    for method, reason in found.refused.items():
        st.caption(plain(f"{method} skipped: {reason}"))
    with st.expander("Export"):
        offer_table(scores, "tokens", "Scores by token")
        offer_table(found.table, "faithfulness", "Faithfulness")
        offer_figure(found.plot, "tokens", "Figure")
        asked = [f"methods={list(methods)!r}"] if _named(methods) else []
        asked += [f"unit={unit!r}"] if unit != _UNITS[0] else []
        asked += [f"target={target!r}"] if target else []
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({name!r})",
            f"found = analyzer.compare_attributions({', '.join([repr(given), *asked])})",
            "print(found.summary)",
            'found.tokens.to_csv("tokens.csv", index=False)',
            'found.table.to_csv("faithfulness.csv", index=False)',
            'found.plot().savefig("tokens.svg")',
        ],
        "tokens",
    )


def _options() -> tuple[tuple[str, ...], Unit, str]:
    """Methods, unit and target."""
    from attention_analyzer.attribution import ATTRIBUTIONS, TARGETS

    restore(METHODS, list(_usual()))
    methods = st.multiselect("Methods", [method.name for method in ATTRIBUTIONS], key=METHODS, bind="query-params")
    keep(METHODS, methods)
    left, right = st.columns(2)
    restore(UNIT, _UNITS[0])
    unit = left.selectbox("Unit", _UNITS, key=UNIT, bind="query-params") or _UNITS[0]
    keep(UNIT, unit)
    restore(TARGET)
    forms = "; ".join(f"`{form}`: {meaning}" for form, meaning in TARGETS.items())
    target = right.text_input(
        "Prediction to explain", key=TARGET, bind="query-params", placeholder="the model's own task", help=forms
    )
    keep(TARGET, target)
    return tuple(methods), unit, target or ""


def _usual() -> tuple[str, ...]:
    from attention_analyzer.attribution.comparison import USUAL

    return USUAL


def _named(methods: tuple[str, ...]) -> tuple[str, ...] | None:
    """None for the usual ones: then those that this model does not allow are left out instead of refused."""
    return None if methods == _usual() else methods
