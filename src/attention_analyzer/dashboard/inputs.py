"""What pages ask a person: the models, the texts, the head. All of it lives in the address of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.model_cache import Given, check_allowed, record_of
from attention_analyzer.dashboard.persistence import keep, restore, text_box
from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.errors import TooLongError

if TYPE_CHECKING:
    from attention_analyzer.record import AttentionRecord
    from attention_analyzer.site import Kind

EXAMPLE = "The quick brown fox jumps over the lazy dog."
#: Shown until another model is chosen.
FIRST = ("demo-decoder",)
#: Of models that read one kind of text only.
OWN_EXAMPLES = {"demo-translator": "She was born on the twenty-third of March, nineteen eighty-four."}
#: Keys of widgets, which are also the names in the page's address.
MODELS, TEXT, SECOND, SITE, LAYER, HEAD = "model", "text", "second", "attention", "layer", "head"
QUERY, KEY, CUT, VIEW = "query", "key", "cut", "view"


@dataclass(frozen=True)
class Place:
    """The chosen head."""

    stack: str
    kind: Kind
    layer: int
    head: int

    @property
    def site(self) -> str:
        return f"{self.stack}.{self.kind}.{self.layer}"

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


def model_box(most: int = 1, *, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The box where models are chosen; what it takes is the operator's decision.

    Args:
        most: how many may be chosen.
        default: names shown first, where they can be had.

    Raises:
        InputError: a model was named that may not be used here.
    """
    settings = Settings.here()
    known = offered(settings.models)
    names = list(known)
    restore(MODELS, [name for name in (*default, *FIRST) if name in known][:1] or names[:1])
    if MODELS in st.session_state:
        st.session_state[MODELS] = list(st.session_state[MODELS])[:most]
    chosen = st.multiselect(
        "Models" if most > 1 else "Model",
        names,
        key=MODELS,
        bind="query-params",
        max_selections=most,
        accept_new_options=not settings.shared,
        placeholder="Choose a model" + ("" if settings.shared else ", or type a folder or a Hugging Face id"),
        help=None
        if settings.shared
        else "Bundled models are ready to use. You can also type a local folder or a Hugging Face id.",
    )
    keep(MODELS, chosen)
    for name in chosen:
        check_allowed(name)
    notes = [f"{name}: {known[name]}" for name in chosen if name in known]
    if notes:
        st.caption(plain(" · ".join(notes)))
    return tuple(chosen)


@st.cache_data(ttl=60, show_spinner=False)
def offered(listed: tuple[str, ...]) -> dict[str, str]:
    """What can be chosen (the operator's list, or all that can be had here), and what it is in a few words."""
    from attention_analyzer.models.catalog import available

    found = {model.name: f"{model.summary} ({model.source})" for model in available()}
    return {name: found.get(name, "") for name in listed} if listed else found


def texts_box(models: tuple[str, ...], *, pair: bool = True) -> Given | None:
    """The box for the text and, folded away, one for a second text; None while there is no text.

    Args:
        models: the chosen ones; the first decides which example stands there until something is typed.
        pair: whether there is a second box.
    """
    longest = Settings.here().longest_text
    example = next((OWN_EXAMPLES[name] for name in models[:1] if name in OWN_EXAMPLES), EXAMPLE)
    text = text_box("Text", example, TEXT, (EXAMPLE, *OWN_EXAMPLES.values()), max_chars=longest, height=100)
    second = ""
    if pair:
        restore(SECOND)
        with st.expander("A second text", expanded=bool(st.session_state.get(SECOND))):
            label = "Second text (sentence pair, or translation target)"
            second = text_box(label, "", SECOND, max_chars=longest, height=80)
    if not text.strip():
        return None
    return (text, second) if second.strip() else text


def reading(name: str, given: Given) -> tuple[AttentionRecord, bool]:
    """The record of a text, and whether the text was cut; a text too long for the model may be cut on request.

    Raises:
        TooLongError: the text is too long and the person has not asked for it to be cut.
    """
    try:
        return record_of(name, given), False
    except TooLongError as error:
        restore(CUT)
        st.warning(plain(f"{error.problem}."), icon=":material/straighten:")
        cut = st.toggle("Truncate to the model's maximum length", key=CUT, bind="query-params")
        keep(CUT, cut)
        if not cut:
            st.stop()
        return record_of(name, given, truncate=True), True


def head_boxes(record: AttentionRecord) -> Place:
    """Boxes for attention, layer and head: what they are set to."""
    first = record.sites[0]
    places = list(dict.fromkeys((site.stack, site.kind) for site in record.sites))
    stack, kind = first.stack, first.kind
    columns = st.columns(3 if len(places) > 1 else 2)
    if len(places) > 1:
        names = [f"{place[0]} {place[1]}" for place in places]
        within(SITE, names)
        shown = columns[0].selectbox("Attention", names, key=SITE, bind="query-params")
        keep(SITE, shown)
        stack, kind = places[names.index(shown or names[0])]
    layers = {site.layer: site.heads for site in record.sites if (site.stack, site.kind) == (stack, kind)}
    within(LAYER, list(layers))
    layer = columns[-2].selectbox("Layer", list(layers), key=LAYER, bind="query-params")
    keep(LAYER, layer)
    layer = next(iter(layers)) if layer is None else layer
    heads = list(range(layers[layer]))
    within(HEAD, heads)
    head = columns[-1].selectbox("Head", heads, key=HEAD, bind="query-params")
    keep(HEAD, head)
    return Place(stack, kind, layer, head or 0)


def within(key: str, options: list[int] | list[str]) -> None:
    """What another model or an old link had may not exist here; then the first does."""
    restore(key)
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]
