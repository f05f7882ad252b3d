"""Mechanism: from a predicted token to the heads that raised or lowered it, the tokens they read, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from attention_analyzer.dashboard.columns import show_table
from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.export import offer_figure, offer_script, offer_table, show_figure
from attention_analyzer.dashboard.inputs import model_box, texts_box
from attention_analyzer.dashboard.jobs import wait_for
from attention_analyzer.dashboard.model_cache import Given, analyzer_of, own_analyzer
from attention_analyzer.dashboard.persistence import keep, restore

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.mechanism import Effects, Why

AT, VERSUS, READER, READ = "at", "versus", "reader", "read"
#: Heads and source tokens that are offered.
_HEADS, _TOKENS = 10, 8
#: Effects that are shown as zero are not offered.
_SMALLEST = 0.005
_SIDES = ("query", "key")


def show() -> None:
    st.header("Why this prediction?")
    models = model_box()
    given = texts_box(models)
    if not models or given is None:
        st.info("Choose a model and enter a text.")
        return
    name = models[0]
    fingerprint = analyzer_of(name).fingerprint
    key = ("mechanism", fingerprint, given)
    predicted = wait_for(key, "Predicting", lambda _: _predictions(name, given))
    if predicted is None:
        return
    at, versus = _prediction(predicted)
    effects = wait_for(
        (*key, at, versus), "Splitting the logit", lambda _: _effects(name, given, predicted, at, versus)
    )
    if effects is None:
        return
    st.caption(plain(f"{effects.what}: {effects.logit:.3f}. The parts sum to it within {effects.deviation:.0e}."))
    show_figure(effects.plot, ("effects-figure", *key, at, versus), "What each part adds to the logit")
    script = [
        f"analyzer = AttentionAnalyzer({name!r})",
        f"effects = analyzer.effects({_asked(given, predicted, at, versus)})",
        "print(effects)",
        "effects.plot().savefig('effects.svg')",
    ]
    script += _head(effects, (*key, at, versus), name, given)
    with st.expander("Export"):
        offer_table(effects.to_frame(), "effects", "Effects")
        offer_figure(effects.plot, "effects")
    offer_script(script, "mechanism")


def _predictions(name: str, given: Given) -> pd.DataFrame:
    from attention_analyzer.mechanism.predictions import predictions

    return predictions(own_analyzer(name).loaded, given)


def _prediction(predicted: pd.DataFrame) -> tuple[int, str]:
    """Boxes for the position whose prediction is explained, and for the token that it is contrasted with."""
    options = [
        f"{row.position} {str(row.token).strip()} → {row.predicted} ({row.probability:.0%})"
        for row in predicted.itertuples()
    ]
    left, right = st.columns((2, 1))
    _choose(AT, options, options[-1])
    chosen = left.selectbox(
        "Predicted token",
        options,
        key=AT,
        bind="query-params",
        help="Position and token, then what the model predicts there.",
    )
    keep(AT, chosen)
    restore(VERSUS)
    versus = right.text_input(
        "Rather than", key=VERSUS, bind="query-params", placeholder="another token", help="Subtracts its logit."
    )
    keep(VERSUS, versus)
    return int(_first_word(chosen or options[-1])), (versus or "").strip()


def _effects(name: str, given: Given, predicted: pd.DataFrame, at: int, versus: str) -> Effects:
    target = int(predicted["number"][at])
    return own_analyzer(name).effects(given, target=target, versus=versus or None, position=at)


def _asked(given: Given, predicted: pd.DataFrame, at: int, versus: str) -> str:
    target = f"target={int(predicted['number'][at])}"
    words = [repr(given), target, *([f"versus={versus!r}"] if versus else []), f"position={at}"]
    return ", ".join(words)


def _head(effects: Effects, key: tuple[Any, ...], name: str, given: Given) -> list[str]:
    """The head that is chosen, what it moved from which token, and why it looked there; lines of the script."""
    heads = effects.heads().head(_HEADS).set_index("component", drop=False)
    st.subheader("Which heads raised or lowered it?")
    names = [f"{row.component} {row.effect:+.2f}" for row in heads.itertuples()]
    chosen = _pills("Heads with the largest effects", READER, names)
    row = heads.loc[chosen]
    layer, head = int(row["layer"]), int(row["head"])
    sources = effects.by_source(layer, head, stack=str(row["stack"]), kind=str(row["attention"]))
    st.subheader(f"What did {chosen} read?")
    st.caption(
        "What the head added to the logit by reading each token: weight times value, along the logit's direction."
    )
    biggest = sources.reindex(sources["effect"].abs().sort_values(ascending=False).index).head(_TOKENS)
    show_figure(lambda: _sources_figure(sources, chosen), ("sources", *key, chosen), f"What {chosen} moved by token")
    tokens = [
        f"{each.position} {str(each.token).strip()} {each.effect:+.2f}"
        for number, each in enumerate(biggest.itertuples())
        if number == 0 or abs(each.effect) >= _SMALLEST
    ]
    read = _pills("Tokens with the largest effects", READ, tokens)
    options = f", stack={str(row['stack'])!r}, kind={str(row['attention'])!r}" if row["attention"] == "cross" else ""
    place = (layer, head, effects.position, int(read), str(row["stack"]), str(row["attention"]))
    st.subheader(f"Why did {chosen} look there?")
    why = wait_for((*key, "why", *place), "Splitting the score", lambda _: _why(name, given, place))
    if why is None:
        return []
    st.markdown(plain(why.facts()[0]))
    show_figure(why.plot, ("why-figure", *key, *place), "The score by components of the query's and the key's side")
    left, right = st.columns(2)
    with left:
        st.caption("Each component, on the query's side and on the key's")
        parts = why.by_component()
        show_table(
            parts.reindex(parts[["query", "key"]].abs().max(axis=1).sort_values(ascending=False).index),
            column_config={side: st.column_config.NumberColumn(f"Of the {side}", format="%.3f") for side in _SIDES},
        )
    with right:
        st.caption("Where earlier heads had it from")
        found = why.sources
        show_table(
            found.reindex(found["score"].abs().sort_values(ascending=False).index).head(20),
            column_config={"position": st.column_config.NumberColumn("Position")},
        )
    with st.expander("Export the score"):
        offer_table(why.to_frame(), "why", "Pairs of components")
        offer_figure(why.plot, "why")
    asked = f"{given!r}, {layer}, {head}, query={effects.position}, key={read}{options}"
    return [f"why = analyzer.why({asked})", "print(why)", "why.plot().savefig('why.svg')"]


def _why(name: str, given: Given, place: tuple[int, int, int, int, str, str]) -> Why:
    layer, head, query, key, stack, kind = place
    return own_analyzer(name).why(
        given, layer, head, query, key, stack=stack, kind="cross" if kind == "cross" else "self"
    )


def _pills(label: str, key: str, options: list[str]) -> str:
    """The first word of one of several, which stays chosen while it is among them."""
    _choose(key, options, options[0])
    chosen = st.pills(label, options, key=key, bind="query-params", required=True)
    keep(key, chosen)
    return _first_word(chosen or options[0])


def _choose(key: str, options: list[str], otherwise: str) -> None:
    """Before a widget is drawn: of its value or the address the option with the same first word, or else the given one.

    What follows the first word is a number, which another model or contrast changes.
    """
    restore(key, otherwise)
    given = st.session_state.get(key, st.query_params.get(key)) or ""
    found = next((option for option in options if _first_word(option) == _first_word(given)), otherwise)
    if st.session_state.get(key) != found:
        st.session_state[key] = found


def _first_word(option: str) -> str:
    return option.partition(" ")[0]


def _sources_figure(sources: pd.DataFrame, head: str) -> Any:
    from attention_analyzer.plots.mechanism import sources_figure

    return sources_figure(sources, head)
