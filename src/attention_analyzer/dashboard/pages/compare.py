"""Compare: two models on the same texts, one model on two texts, or several models by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import (
    cautions_of,
    offer_figure,
    offer_file,
    offer_script,
    offer_table,
    show_figure,
)
from attention_analyzer.dashboard.head_table import head_table
from attention_analyzer.dashboard.inputs import model_box
from attention_analyzer.dashboard.jobs import Job, wait_for
from attention_analyzer.dashboard.model_cache import analyzer_of, own_analyzer
from attention_analyzer.dashboard.persistence import text_box
from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.dashboard.viewer_component import attention_view
from attention_analyzer.errors import InputError
from attention_analyzer.view.html import html_text

if TYPE_CHECKING:
    from attention_analyzer.comparison import Comparison, MultiModelComparison

COMPARED, OTHERS = "compared", "others"
MOST_MODELS = 5
EXAMPLE = """The cat that chased the mice sleeps on the warm stones now.
She gave her brother the letter, and he read it aloud to their mother.
They bought bread, cheese and apples, and they ate them under the old oak tree."""


def show() -> None:
    st.header("What differs?")
    models = model_box(MOST_MODELS)
    longest = Settings.here().longest_text
    texts = _lines(text_box("Texts, one per line", EXAMPLE, COMPARED, max_chars=longest, height=110))
    others: list[str] = []
    if len(models) == 1:
        label = "Other texts, one per line above"
        others = _lines(text_box(label, "", OTHERS, max_chars=longest, height=110))
    if not texts or not models or (len(models) == 1 and not others):
        st.info(
            "Choose two models, or one model and other texts. With three or more models, metrics are compared by "
            "relative depth."
        )
        return
    if others and len(others) != len(texts):
        raise InputError(f"{len(texts)} texts and {len(others)} other texts were given; each text needs one.")
    fingerprints = [analyzer_of(name).fingerprint for name in models]
    key = ("compare", *models, *fingerprints, *texts, *others)

    def work(job: Job) -> Any:
        from attention_analyzer.comparison import compare, compare_models

        analyzers = [own_analyzer(name) for name in models]
        if len(models) > 2:
            return compare_models(analyzers, texts=texts, progress=job.progress)
        return compare(*analyzers, texts=texts, other_texts=others or None, progress=job.progress)

    found = wait_for(key, "Comparing", work)
    if found is None:
        return
    if len(models) > 2:
        _several(found, models, texts, key)
    else:
        _two(found, models, texts, others, key)


def _two(found: Comparison, models: tuple[str, ...], texts: list[str], others: list[str], key: tuple[str, ...]) -> None:
    st.text(found.report())
    cautions_of(found)
    show_figure(found.plot, key, "What changed most")
    first, second = found.records
    st.subheader("Side by side")
    st.caption("The first text in both; the Difference view shows the second minus the first.")
    attention_view(_payload(key, found), key=f"compare-{hash(key)}", height=620, state={"view": "difference"})
    st.subheader("Heads, largest difference first")
    head_table(found.heads, "compared")
    with st.expander("Layers"):
        show_table(found.layers)
    with st.expander("Tokens"):
        show_table(found.tokens)
    with st.expander("Export"):
        offer_table(found.heads, "compared-heads", "Heads")
        offer_table(found.layers, "compared-layers", "Layers")
        offer_table(found.tokens, "compared-tokens", "Tokens")
        offer_figure(found.plot, "comparison")
        called = ("first", "second")[: len(models)]
        offer_file("Page (HTML)", lambda: html_text(first, second).encode(), "comparison.html", "text/html")
    offer_script(
        [
            "from attention_analyzer import compare",
            "",
            *[f"{call} = AttentionAnalyzer({name!r})" for call, name in zip(called, models, strict=True)],
            *_listed("texts", texts),
            *(_listed("others", others) if others else []),
            f"found = compare({', '.join(called)}, texts=texts{', other_texts=others' if others else ''})",
            "print(found.report())",
            'found.heads.to_csv("compared-heads.csv", index=False)',
            'found.plot().savefig("comparison.svg")',
            'found.to_html("comparison.html")',
        ],
        "comparison",
    )


def _several(found: MultiModelComparison, models: tuple[str, ...], texts: list[str], key: tuple[str, ...]) -> None:
    show_figure(found.plot, key, "Metrics of each model by depth")
    st.subheader("Distance between models")
    st.caption("Mean Jensen–Shannon divergence of matched heads in nats: 0 means identical, 0.69 means no overlap.")
    show_table(found.divergence.reset_index(names="model"))
    with st.expander("Layers"):
        show_table(found.layers)
    with st.expander("Export"):
        offer_table(found.layers, "compared-layers", "Layers")
        offer_table(found.divergence.reset_index(), "divergence", "Divergence")
        offer_figure(found.plot, "comparison")
    offer_script(
        [
            "from attention_analyzer import compare_models",
            "",
            *_listed("texts", texts),
            f"found = compare_models({list(models)!r}, texts=texts)",
            'found.layers.to_csv("compared-layers.csv", index=False)',
            'found.plot().savefig("comparison.svg")',
        ],
        "comparison",
        analyzer=False,
    )
    st.caption(plain(", ".join(found.names)))


@st.cache_resource(max_entries=20, show_spinner=False)
def _payload(key: tuple[str, ...], _found: Comparison) -> bytes:  # noqa: ARG001 (Streamlit remembers by it)
    """Both records for the viewer."""
    from attention_analyzer.view.content import payload

    return payload(*_found.records, deflate=False)


def _lines(given: str) -> list[str]:
    return [line.strip() for line in given.splitlines() if line.strip()]


def _listed(name: str, values: list[str]) -> list[str]:
    return [f"{name} = [", *[f"    {value!r}," for value in values], "]"]
