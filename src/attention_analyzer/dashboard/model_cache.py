"""Models and records that all sessions share: loaded once, asked by one session at a time.

A tokenizer may not be used by two threads at once, and a forward is over soon; so short questions to one model wait for
each other. Long work has a tokenizer of its own and shares only the weights, which nobody changes.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, RLock
from typing import TYPE_CHECKING

import streamlit as st

from attention_analyzer.dashboard.settings import Settings
from attention_analyzer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.analyzer import AttentionAnalyzer
    from attention_analyzer.interventions import WhatIf
    from attention_analyzer.record import AttentionRecord

Given = str | tuple[str, str]
_ANSWERED = Event()


def has_answered() -> bool:
    """Whether this server has read a text yet; before that, it has much to import."""
    return _ANSWERED.is_set()


def check_allowed(name: str) -> None:
    """Refuse what the operator did not allow.

    Raises:
        InputError: the model is not on the operator's list.
    """
    settings = Settings.here()
    if settings.shared and name not in settings.models:
        raise InputError(f"The model {name[:60]!r} is not offered here; choose one of {', '.join(settings.models)}.")


def analyzer_of(name: str) -> AttentionAnalyzer:
    """The model's analyzer, loaded once and shared by all sessions.

    Raises:
        InputError: the model is not offered here.
        ModelError: it cannot be had or loaded.
    """
    check_allowed(name)
    return _loaded(name)[0]


@contextmanager
def asking(name: str) -> Iterator[AttentionAnalyzer]:
    """The model's analyzer, for this session alone while the block lasts."""
    analyzer = analyzer_of(name)
    with _loaded(name)[1]:
        yield analyzer


def own_analyzer(name: str) -> AttentionAnalyzer:
    """An analyzer for long work in another thread: the shared weights and a tokenizer of its own.

    A page calls :func:`analyzer_of` first, so that the model is there and nothing is drawn from that thread.
    """
    with asking(name) as shared:
        loaded = replace(shared.loaded, tokenizer=copy.deepcopy(shared.loaded.tokenizer))
        return type(shared).of(loaded, cache=False)


@st.cache_resource(max_entries=4, show_spinner="Loading the model …")
def _loaded(name: str) -> tuple[AttentionAnalyzer, RLock]:
    from attention_analyzer.analyzer import AttentionAnalyzer

    # Streamlit looks through all objects after every run of a page: a model's stay, and so need not be looked at again.
    # Those of a model that was pushed out meanwhile are let go here.
    gc.unfreeze()
    found = AttentionAnalyzer(name, cache=False), RLock()
    gc.collect()
    gc.freeze()
    return found


@st.cache_resource(max_entries=40, show_spinner="Running the model …")
def record_of(name: str, given: Given, truncate: bool = False) -> AttentionRecord:
    """The record of a text, made once; frozen, so sessions may share it.

    It does not hold its model, which would otherwise stay in memory as long as one of its records.
    """
    with asking(name) as analyzer:
        record = replace(analyzer.record(given, truncate=truncate), origin=None)
    _ANSWERED.set()
    return record


@st.cache_data(max_entries=200, show_spinner=False)
def heads_of(name: str, given: Given, truncate: bool = False) -> pd.DataFrame:
    """The head table of a record."""
    return record_of(name, given, truncate).heads()


@st.cache_data(max_entries=200, show_spinner="Scoring patterns …")
def patterns_of(name: str, given: Given, truncate: bool = False) -> pd.DataFrame:
    """The strengths of all patterns in a record."""
    return record_of(name, given, truncate).patterns()


@st.cache_resource(max_entries=200, show_spinner="Running the model …")
def changed(
    name: str, given: Given, edges: tuple[str, ...], heads: tuple[str, ...], target: str | None, truncate: bool = False
) -> WhatIf:
    """What knocked-out edges and silenced heads do to the prediction."""
    with asking(name) as analyzer:
        return analyzer.what_if(given, knock_out=edges, ablate=heads, target=target, truncate=truncate)
