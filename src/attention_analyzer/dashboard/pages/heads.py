"""Heads: what each does over several texts, and how much the model needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import cautions_of, offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.head_table import head_table
from attention_analyzer.dashboard.inputs import model_box
from attention_analyzer.dashboard.jobs import Job, wait_for
from attention_analyzer.dashboard.model_cache import analyzer_of, own_analyzer
from attention_analyzer.dashboard.persistence import keep, restore, text_box
from attention_analyzer.dashboard.settings import Settings

TEXTS, QUESTION = "texts", "question"
EXAMPLES = """The cat that chased the mice across the garden sleeps on the warm stones now.
When the rain began, the children ran home and shut every window in the house.
She gave her brother the letter, and he read it aloud to their mother.
The old clock on the tower struck nine before the market had opened its gates.
Nobody in the village knew who had painted the door of the empty mill blue.
If you follow the river to the bridge, you will find the inn on the left side.
The captain, who had sailed these waters for years, trusted neither maps nor stars.
They bought bread, cheese and apples, and they ate them under the old oak tree."""


@dataclass(frozen=True)
class Question:
    """One analysis of heads.

    Attributes:
        title: the question in a person's words; ``explanation``: how it is answered.
        method: of the analyzer; ``options``: its further arguments.
        table: which of the result's tables is shown; ``evidence``: which one behind it.
        fewest: how many texts it needs.
    """

    title: str
    explanation: str
    method: str
    options: tuple[tuple[str, Any], ...] = ()
    table: str = "table"
    evidence: str = ""
    fewest: int = 3


QUESTIONS = (
    Question(
        "What does each head do?",
        "A head is labeled if its score exceeds a threshold and its controls over all texts, corrected for the number "
        "of heads. Induction and copying are measured on synthetic sequences.",
        "label_heads",
        table="heads",
        evidence="table",
    ),
    Question(
        "Which heads are similar?",
        "Heads are compared by the Jensen–Shannon distance of their attention: a map, clusters with their stability, "
        "redundant groups and outliers. Heads with the same attention may still read different values.",
        "similarity",
        evidence="pairs",
    ),
    Question(
        "What does each layer do?",
        "Every metric by depth: the mean over heads and texts, the spread between heads, and where the weight goes.",
        "depth_profile",
        evidence="heads",
        fewest=2,
    ),
    Question(
        "Which heads matter?",
        "How much the loss depends on each head, by its gradient: the mean of |output × gradient|, per layer of length "
        "one, with its 95 % interval over the texts. This is an effect on the loss, not a description.",
        "head_importance",
        fewest=1,
    ),
    Question(
        "What does each head contribute?",
        "Every head is ablated in turn and the loss is measured again. Above zero the head helps; below zero the model "
        "does better without it.",
        "head_importance",
        (("method", "ablation"),),
        fewest=1,
    ),
    Question(
        "How many heads can be pruned?",
        "Heads are ablated in the order of their importance. The order comes from every second text, the loss from the "
        "others. Random orders are the control.",
        "pruning_curve",
        fewest=4,
    ),
)


def show() -> None:
    st.header("What does each head do?")
    models = model_box()
    longest = Settings.here().longest_text
    given = text_box(
        "Texts, one per line",
        EXAMPLES,
        TEXTS,
        max_chars=longest,
        height=210,
        help="More texts give narrower confidence intervals.",
    )
    texts = [line.strip() for line in given.splitlines() if line.strip()]
    titles = [question.title for question in QUESTIONS]
    restore(QUESTION, titles[0])
    title = st.pills("Question", titles, key=QUESTION, bind="query-params", required=True)
    keep(QUESTION, title)
    question = next((each for each in QUESTIONS if each.title == title), QUESTIONS[0])
    st.caption(question.explanation)
    if not models or len(texts) < question.fewest:
        st.info(f"Choose a model and give at least {question.fewest} texts, one per line; there are {len(texts)}.")
        return
    name = models[0]
    key = ("heads", analyzer_of(name).fingerprint, tuple(texts), question.title)

    def work(job: Job) -> Any:
        return getattr(own_analyzer(name), question.method)(texts, **dict(question.options), progress=job.progress)

    found = wait_for(key, question.title, work, button="Measure")
    if found is None:
        return
    cautions_of(found)
    show_figure(found.plot, key, question.title)
    table = getattr(found, question.table)
    if "head" in table:
        head_table(table, f"heads-{question.title}")
    else:
        show_table(table)
    if question.evidence:
        with st.expander("Details"):
            show_table(getattr(found, question.evidence))
    with st.expander("Export"):
        offer_table(table, "heads", "Table")
        if question.evidence:
            offer_table(getattr(found, question.evidence), "evidence", "Evidence")
        offer_figure(found.plot, "heads")
        asked = "".join(f", {option}={value!r}" for option, value in question.options)
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({name!r})",
            "texts = [",
            *[f"    {text!r}," for text in texts],
            "]",
            f"found = analyzer.{question.method}(texts{asked})",
            f'found.{question.table}.to_csv("heads.csv", index=False)',
            'found.plot().savefig("heads.svg")',
        ],
        "heads",
    )
    st.caption(plain(f"{name}, {len(texts)} texts."))
