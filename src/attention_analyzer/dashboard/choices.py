"""What every page needs to know: the models, the text, the chosen head. All of it lives in the address of the page."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.errors import InputError
from attention_analyzer.models.catalog import available, offline_folder
from attention_analyzer.record import AttentionRecord

EXAMPLE = "The quick brown fox jumps over the lazy dog."
#: Keys of widgets, which are also the names in the page's address.
MODELS, TEXT, SECOND, LAYER, HEAD = "model", "text", "second", "layer", "head"


@dataclass(frozen=True)
class Choice:
    """The models and the text that a page is about."""

    models: tuple[str, ...]
    text: str
    second: str

    @property
    def model(self) -> str:
        return self.models[0]

    @property
    def given(self) -> str | tuple[str, str]:
        """The text, or the pair of texts."""
        return (self.text, self.second) if self.second.strip() else self.text


def model_box() -> tuple[str, ...]:
    """The box where models are chosen; what it allows is the operator's decision.

    Raises:
        InputError: a model was named that may not be used here.
    """
    settings = Settings.from_environment()
    names = list(settings.models) or [model.name for model in available()]
    chosen = st.multiselect(
        "Models",
        names,
        default=names[:1],
        key=MODELS,
        bind="query-params",
        max_selections=3,
        accept_new_options=not settings.shared,
        help="Bundled models work at once. "
        + ("" if settings.shared else "You may also type a folder or a Hugging Face id. ")
        + "With several, pages show the first one chosen; Explore shows them side by side.",
    )
    for name in chosen:
        check_allowed(name, settings)
    return tuple(chosen)


def check_allowed(name: str, settings: Settings) -> None:
    """Refuse what the operator did not allow.

    Raises:
        InputError: the model is not on the operator's list.
    """
    if settings.shared and name not in settings.models:
        raise InputError(f"The model {name[:60]!r} is not offered here; choose one of {', '.join(settings.models)}.")


def text_boxes(*, pair: bool = True) -> tuple[str, str]:
    """The box for the text and, folded away, one for a second text."""
    longest = Settings.from_environment().longest_text
    text = st.text_area("Text", EXAMPLE, key=TEXT, bind="query-params", max_chars=longest, height=100)
    second = ""
    if pair:
        with st.expander("A second text", expanded=bool(st.session_state.get(SECOND))):
            second = st.text_area(
                "Second text of a pair; for a translator, the target",
                key=SECOND,
                bind="query-params",
                max_chars=longest,
                height=80,
            )
    return text or "", second or ""


@st.cache_resource(max_entries=4, show_spinner="Loading the model …")
def analyzer_of(name: str) -> AttentionAnalyzer:
    """The model's analyzer, loaded once and shared by all sessions; its forward changes nothing."""
    check_allowed(name, Settings.from_environment())
    return AttentionAnalyzer(name, cache=offline_folder(name) is None)


@st.cache_resource(max_entries=200, show_spinner=False)
def record_of(name: str, text: str | tuple[str, str], truncate: bool = False) -> AttentionRecord:
    """The record of a text, made once; frozen, so sessions may share it."""
    return analyzer_of(name).record(text, truncate=truncate)


def head_boxes(record: AttentionRecord) -> tuple[str, str, int, int]:
    """Boxes for stack, kind, layer and head: what they were set to."""
    first = record.sites[0]
    places = list(dict.fromkeys((site.stack, site.kind) for site in record.sites))
    stack, kind = first.stack, first.kind
    columns = st.columns(3 if len(places) > 1 else 2)
    if len(places) > 1:
        names = [f"{place[0]} {place[1]}" for place in places]
        with columns[0]:
            shown = st.selectbox("Attention", names, key="site", bind="query-params")
        stack, kind = places[names.index(shown or names[0])]
    layers = [site for site in record.sites if (site.stack, site.kind) == (stack, kind)]
    with columns[-2]:
        numbers = [site.layer for site in layers]
        _keep_within(LAYER, numbers)
        layer = st.selectbox("Layer", numbers, key=LAYER, bind="query-params") or 0
    with columns[-1]:
        heads = list(range(next(site.heads for site in layers if site.layer == layer)))
        _keep_within(HEAD, heads)
        head = st.selectbox("Head", heads, key=HEAD, bind="query-params") or 0
    return stack, kind, layer, head


def _keep_within(key: str, options: list[int]) -> None:
    """A number from another model or an old link may not exist here; then the first does."""
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]
