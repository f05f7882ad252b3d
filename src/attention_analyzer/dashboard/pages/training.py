"""Training: attention over training, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.inputs import HEAD, LAYER, Place, within
from attention_analyzer.dashboard.persistence import keep, restore
from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.dashboard.timeline import animated_map
from attention_analyzer.dashboard.viewer_sync import linked_view
from attention_analyzer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.record import AttentionRecord
    from attention_analyzer.training import History

BUNDLED = "demo-decoder-history"
HISTORY, OTHER, STEP, MEASURE = "history", "other", "step", "measure"
#: Shown first, where it was measured.
_FIRST_MEASURES = ("induction", "previous_token", "first_token", "entropy")


def show() -> None:
    st.header("How did attention develop during training?")
    name = _history_box("History", HISTORY, BUNDLED)
    other = "" if Settings.here().shared else _history_box("Compare with another run", OTHER)
    if not name:
        st.info("Choose a history: the bundled one, or a folder written by a tracker or attn track.")
        return
    history = history_of(name)
    st.text(_report(name))
    show_figure(history.plot, ("training", name, history.steps[-1]), "Roles, entropy and loss over the steps")
    if other:
        _beside(history, name, other)
    st.subheader("One step")
    step, measure = _timeline(history)
    left, right = st.columns([3, 2])
    with left:
        st.plotly_chart(animated_map(history, measure, step), key="map", config={"displaylogo": False})
    with right:
        place = _head_boxes(history)
        curve = history.curve(measure, place.layer, place.head, stack=place.stack, kind=place.kind)
        st.caption(f"{measure.replace('_', ' ')} of {place} over the steps")
        st.line_chart(curve.rename(str(place)), height=240)
    _pattern(history, step, place)
    with st.expander("When heads acquired their roles"):
        show_table(onsets_of(name))
    with st.expander("Export"):
        offer_table(history.at(step), f"step-{step}", "All heads at this step")
        offer_table(onsets_of(name), "onsets", "Onsets")
        offer_figure(history.plot, "training")
        offer_figure(lambda: history.head_map(step, measure), "map", "Head map at this step")
        script = [
            "from attention_analyzer.training import History",
            "",
            f"history = History.load({name!r})",
            "print(history.report())",
            'history.onsets().to_csv("onsets.csv", index=False)',
            f'history.at({step}).to_csv("step-{step}.csv", index=False)',
            'history.plot().savefig("training.svg")',
        ]
    offer_script(script, "training", analyzer=False)


@st.cache_resource(max_entries=8, show_spinner="Reading the history …")
def history_of(name: str) -> History:
    """A history, read once.

    Raises:
        InputError: it is a folder, and this dashboard is shared; or it is no history.
    """
    from attention_analyzer.training import History

    if Settings.here().shared and name != BUNDLED:
        raise InputError(f"The history {name[:60]!r} is not available here; choose {BUNDLED}.")
    return History.load(name)


@st.cache_data(max_entries=8, show_spinner="Computing onsets …")
def onsets_of(name: str) -> pd.DataFrame:
    """When heads acquired their roles."""
    return history_of(name).onsets()


@st.cache_data(max_entries=8, show_spinner=False)
def _report(name: str) -> str:
    return history_of(name).report()


def _history_box(label: str, key: str, default: str | None = None) -> str:
    restore(key, default)
    typed = st.session_state.get(key)
    options = list(dict.fromkeys([BUNDLED, *([typed] if typed else [])]))
    shared = Settings.here().shared
    name = st.selectbox(
        label,
        [BUNDLED] if shared else options,
        None,
        key=key,
        bind="query-params",
        accept_new_options=not shared,
        placeholder="The folder of a history",
        help=None if shared else "You can type a folder.",
    )
    keep(key, name)
    return name or ""


def _beside(history: History, name: str, other: str) -> None:
    """Two trainings beside each other."""
    second = history_of(other)
    runs = history.compare(second, (Path(name).name, Path(other).name))
    st.subheader("Compared with the other run")
    st.text(str(runs))
    key = ("runs", name, history.steps[-1], other, second.steps[-1])
    show_figure(runs.plot, key, "The same numbers of both runs over the steps")


def _timeline(history: History) -> tuple[int, str]:
    """The chosen step and measure."""
    steps = history.steps
    left, right = st.columns([3, 1])
    restore(STEP, steps[-1])
    if st.session_state.get(STEP) not in steps and STEP in st.session_state:
        st.session_state[STEP] = steps[-1]
    # Without a format of its own: the address has the option as it is shown.
    step = left.select_slider("Step", steps, key=STEP, bind="query-params", help="Drag to choose a training step.")
    keep(STEP, step)
    first = [name for name in _FIRST_MEASURES if name in history.columns]
    measures = [*first, *[name for name in history.columns if name not in first]]
    within(MEASURE, measures)
    measure = right.selectbox("Measure", measures, key=MEASURE, bind="query-params") or measures[0]
    keep(MEASURE, measure)
    return int(step), measure


def _head_boxes(history: History) -> Place:
    first = history.heads.iloc[0]
    own = history.heads[(history.heads["stack"] == first["stack"]) & (history.heads["kind"] == first["kind"])]
    layers = [int(layer) for layer in own["layer"].unique()]
    within(LAYER, layers)
    columns = st.columns(2)
    layer = columns[0].selectbox("Layer", layers, key=LAYER, bind="query-params")
    keep(LAYER, layer)
    layer = layers[0] if layer is None else layer
    heads = [int(head) for head in own.loc[own["layer"] == layer, "head"]]
    within(HEAD, heads)
    head = columns[1].selectbox("Head", heads, key=HEAD, bind="query-params")
    keep(HEAD, head)
    return Place(str(first["stack"]), first["kind"], layer, head or 0)


def _pattern(history: History, step: int, place: Place) -> None:
    """All heads' patterns at the stored step next to the chosen one, as the viewer shows them."""
    kept = history.pattern_steps
    if not kept:
        st.caption("This history has metrics only; no attention patterns were saved.")
        return
    nearest = min(kept, key=lambda each: abs(each - step))
    st.subheader(f"Patterns at step {nearest:,}")
    if nearest != step:
        st.caption(plain(f"Patterns were saved at {len(kept)} of {len(history.steps)} steps; this is the nearest."))
    record = record_at(history, nearest, place)
    linked_view(record, place, None, None, name="training", height=520)


@st.cache_resource(
    max_entries=60, show_spinner=False, hash_funcs={"attention_analyzer.training.history.History": id, Place: str}
)
def record_at(history: History, step: int, place: Place) -> AttentionRecord:
    """The kept patterns of one step, as a record."""
    import numpy as np

    from attention_analyzer.record import AttentionRecord

    heads = history.heads
    own = heads[(heads["stack"] == place.stack) & (heads["kind"] == place.kind)]
    layers = [
        np.stack([history.pattern(step, layer, head, stack=place.stack, kind=place.kind) for head in group["head"]])
        for layer, group in own.groupby("layer")
    ]
    queries, keys = history.tokens_for(place.stack, place.kind)
    other = None if place.kind == "self" else keys
    return AttentionRecord.from_weights(
        layers,
        queries,
        key_tokens=other,
        partial_rows=True,  # A model with attention sinks has them.
        stack=place.stack,
        model_name=f"{history.model_name} at step {step:,}",
    )
