"""Language: dependencies, semantic roles and coreference in an annotated file, head by head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import cautions_of, offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.head_table import head_table
from attention_analyzer.dashboard.inputs import model_box, within
from attention_analyzer.dashboard.jobs import Job, jobs, wait_for
from attention_analyzer.dashboard.model_cache import analyzer_of, own_analyzer
from attention_analyzer.dashboard.persistence import keep, restore
from attention_analyzer.dashboard.uploads import upload_box

if TYPE_CHECKING:
    from attention_analyzer.linguistics import Relations

LIMIT, SHORTEST, LONGEST, FEWEST, TASK, LABEL, ASKED = (
    "limit",
    "shortest",
    "longest",
    "fewest",
    "task",
    "label",
    "asked",
)
#: Of each box: label, smallest, largest and first value.
_NUMBERS = {
    LIMIT: ("Maximum number of sentences", 1, 20_000, 500),
    SHORTEST: ("Minimum words per sentence", 1, 200, 5),
    LONGEST: ("Maximum words per sentence", 1, 500, 40),
    FEWEST: ("Minimum examples per relation", 1, 1000, 20),
}
_SHOWN_EXAMPLES = 12


@dataclass(frozen=True)
class Answered:
    """What was found, and what is needed to say how."""

    found: Relations
    model: str
    name: str
    options: dict[str, int]


def show() -> None:
    st.header("Which heads know grammar?")
    models = model_box()
    upload = upload_box(
        "Annotated file",
        ("conllu", "conll"),
        several=False,
        key="annotated",
        help_text="CoNLL-U, with PropBank columns or without, or CoNLL-2012: its words, dependencies, roles and "
        "coreference are what heads are asked for.",
    )
    columns = st.columns(len(_NUMBERS))
    numbers = {key: _number(column, key) for column, key in zip(columns, _NUMBERS, strict=True)}
    name = models[0] if models else ""
    if upload is None or not name:
        _earlier(numbers[FEWEST])
        return
    options = {"limit": numbers[LIMIT], "min_words": numbers[SHORTEST], "max_words": numbers[LONGEST]}
    parts = (analyzer_of(name).fingerprint, upload.digest, *options.values())
    key = hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()

    def answer(job: Job) -> Answered:
        found = own_analyzer(name).relations(
            upload.paths[0],
            limit=numbers[LIMIT],
            min_words=numbers[SHORTEST],
            max_words=numbers[LONGEST],
            progress=job.progress,
        )
        return Answered(found, name, upload.names[0], options)

    found = wait_for(("language", key), "Sentences", answer, button="Run analysis")
    if found is not None:
        st.query_params[ASKED] = key
        _results(found, numbers[FEWEST])


def _earlier(fewest: int) -> None:
    """The result that the address names, as after a reload; else what to do."""
    key = st.query_params.get(ASKED)
    job = jobs().get(("language", key)) if key else None
    if job is not None and job.over and job.error is None:
        st.caption(plain(f"The result of before, of {job.result.name}."))
        _results(job.result, fewest)
    else:
        st.info(
            "Choose a model and a treebank. For every relation the page then shows the head that finds it best, chosen "
            "on one half of the sentences and scored on the other, beside the best rule that knows positions only."
        )


def _results(answered: Answered, fewest: int) -> None:
    from attention_analyzer.plots.relations import relation_map, relations_figure

    found = answered.found
    tasks = list(found.tasks)
    within(TASK, tasks)
    restore(TASK, tasks[0])
    task = st.segmented_control("Task", tasks, key=TASK, required=True) or tasks[0]
    keep(TASK, task)
    scores = found[task]
    st.caption(
        plain(
            f"{found.sentences:,} sentences, {answered.model}; {found.left_out:,} skipped because they were too long."
        )
    )
    cautions_of(found)
    best = found.combination
    if task == "dependencies" and best is not None:
        st.markdown(
            f"All heads together find **{best.uas:.1%}** of governors in unseen sentences ({best.low:.1%} to "
            f"{best.high:.1%}); relative positions alone {best.control:.1%}."
        )
    table = scores.table(fewest)
    if not len(table):
        st.info(f"No relation has {fewest} examples; lower the minimum.")
        return
    if table["held_out"].notna().any():
        show_figure(lambda: relations_figure(scores, fewest=fewest), ("language", id(answered), task, fewest))
    head_table(table, "relations")
    st.subheader("Examples")
    labels = list(dict.fromkeys(table["label"]))
    within(LABEL, labels)
    label = st.selectbox("Label", labels, key=LABEL) or labels[0]
    keep(LABEL, label)
    heads = scores.head_table(label)
    left, right = st.columns([2, 3])
    with left:
        show_figure(lambda: relation_map(scores, label), ("language-map", id(answered), task, label))
    right.dataframe(heads, hide_index=True, height=300)
    first = heads.iloc[0]
    st.caption(plain(f"L{first['layer']}H{first['head']}: *query word*, [correct word] → strongest key"))
    examples = scores.examples(
        label,
        int(first["layer"]),
        int(first["head"]),
        direction=str(first["direction"]),
        stack=str(first["stack"]),
        limit=_SHOWN_EXAMPLES,
    )
    st.text("\n".join(str(example) for example in examples))
    with st.expander("Export"):
        offer_table(found.table(fewest=fewest), "relations", "All labels")
        offer_table(heads, "label", f"Every head on {plain(label)}")
        if table["held_out"].notna().any():
            offer_figure(lambda: relations_figure(scores, fewest=fewest), "relations")
        offer_figure(lambda: relation_map(scores, label), "label-map", f"Map of {plain(label)}")
        asked = ", ".join(f"{option}={value!r}" for option, value in answered.options.items())
    offer_script(
        [
            f"analyzer = AttentionAnalyzer({answered.model!r})",
            f"found = analyzer.relations({answered.name!r}, {asked})",
            f'found.table(fewest={fewest}).to_csv("relations.csv", index=False)',
        ],
        "relations",
    )


def _number(column: st.delta_generator.DeltaGenerator, key: str) -> int:
    label, least, most, first = _NUMBERS[key]
    restore(key, first)
    value = column.number_input(label, least, most, key=key, bind="query-params")
    keep(key, value)
    return int(value or least)
