"""One contract for everything that an analysis returns."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import attention_analyzer
from attention_analyzer import AttentionAnalyzer, errors, plots
from attention_analyzer.comparison import compare_models
from attention_analyzer.result import SHOWN_ROWS, Result
from attention_analyzer.training import History

EARLY = "demo-decoder-history/early"
TEXTS = [
    "The door of the old house was red. The boy went to the door of the old house.",
    "One day a girl named Sue saw a big tree. The big tree was near the house of Sue.",
    "Tom had a dog. The dog was happy. Tom and the dog went home, and the dog slept.",
]

CLEAN_AND_CORRUPTED = ("Tom saw a red dog. Tom saw a red", "Tom saw a big dog. Tom saw a red")


@cache
def analyzer() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@cache
def history() -> History:
    return History.load("demo-decoder-history")


MAKERS: dict[str, Callable[[], Result]] = {
    "TokenImportance": lambda: analyzer().token_importance(TEXTS[0]),
    "AttributionComparison": lambda: analyzer().compare_attributions(TEXTS[0], methods=("received", "rollout")),
    "PartAttention": lambda: analyzer().record(TEXTS[0]).between(),
    "Lookback": lambda: analyzer().generate(TEXTS[0], max_new_tokens=4).lookback(),
    "Receivers": lambda: analyzer().record(" ".join(TEXTS)).receivers("word", shuffles=20),
    "RetrievalHeads": lambda: analyzer().retrieval_heads(TEXTS[1], answer=" Sue", shuffles=20),
    "Suppression": lambda: analyzer().suppression(TEXTS[2]),
    "Sources": lambda: analyzer().sources(TEXTS[1], removals=8, max_new_tokens=2),
    "WhatIf": lambda: analyzer().record(TEXTS[0]).what_if(ablate="L1"),
    "Effects": lambda: analyzer().effects(TEXTS[0]),
    "Why": lambda: analyzer().record(TEXTS[0]).why(1, 2, 5, 3),
    "HeadWrites": lambda: analyzer().writes(TEXTS[0], 4, 2),
    "Compositions": lambda: analyzer().compositions(into="L2"),
    "ContrastDirections": lambda: analyzer().contrast(TEXTS * 2, lambda tokens: [(5, 4)], 1, 4),
    "Patching": lambda: analyzer().patch(*CLEAN_AND_CORRUPTED),
    "Circuit": lambda: analyzer().circuit([CLEAN_AND_CORRUPTED] * 6, faithfulness=0.3, controls=2),
    "HeadImportance": lambda: analyzer().head_importance(TEXTS),
    "PruningCurve": lambda: analyzer().pruning_curve([*TEXTS, TEXTS[0]], shares=(0, 0.5, 1)),
    "Similarity": lambda: analyzer().similarity(TEXTS),
    "DepthProfile": lambda: analyzer().depth_profile(TEXTS),
    "HeadLabels": lambda: analyzer().label_heads(TEXTS, probes=False),
    "HeadPrograms": lambda: analyzer().programs(TEXTS * 2),
    "ProgramReplacement": lambda: analyzer().replace_by_program(made("HeadPrograms"), TEXTS, shares=(0.5, 1)),
    "CacheAdvice": lambda: analyzer().cache_advice(TEXTS, first=(1,), last=(4, 8)),
    "Comparison": lambda: analyzer().compare(EARLY, texts=TEXTS),
    "MultiModelComparison": lambda: compare_models([analyzer(), EARLY], texts=TEXTS),
    "History": history,
    "RunComparison": lambda: history().compare(history()),
}
ROOMS = {"parts", "attribution", "heads", "patterns", "interventions", "linguistics", "comparison", "training"}
#: Made from annotated sentences, in the tests of linguistics.
ELSEWHERE = {"Relations", "Scores"}


def subclasses(base: type) -> Iterator[type]:
    for found in base.__subclasses__():
        yield found
        yield from subclasses(found)


@cache
def made(name: str) -> Result:
    return MAKERS[name]()


@pytest.fixture(params=list(MAKERS))
def result(request: pytest.FixtureRequest) -> Result:
    return made(request.param)


def test_every_result_is_here_and_has_a_figure() -> None:
    for module in pkgutil.walk_packages(attention_analyzer.__path__, "attention_analyzer."):
        if module.name.split(".")[1] in (
            "parts",
            "sources",
            "attribution",
            "heads",
            "patterns",
            "interventions",
            "linguistics",
            "mechanism",
            "comparison",
            "programs",
            "training",
        ):
            importlib.import_module(module.name)
    names = {found.__name__ for found in subclasses(Result)}
    assert names == set(MAKERS) | ELSEWHERE
    assert names == {name for name, _ in plots.FIGURES}
    for found in subclasses(Result):
        assert {view for name, view in plots.FIGURES if name == found.__name__} == {"", *found.views}


@pytest.mark.parametrize(("module", "function"), list(dict.fromkeys(plots.FIGURES.values())))
def test_every_figure_exists(module: str, function: str) -> None:
    assert callable(getattr(importlib.import_module(f"attention_analyzer.plots.{module}"), function))


def test_it_prints_in_a_few_lines(result: Result) -> None:
    text = repr(result)
    assert text.startswith(type(result).__name__)
    assert len(text) < 700
    assert len(text.splitlines()) <= 8
    assert all(fact in text for fact in result.facts())
    assert ".to_frame()" in text
    if result.subject:
        assert result.subject in text


def test_a_notebook_shows_a_table_without_scripts(result: Result) -> None:
    html = result._repr_html_()
    assert "<table" in html and "<script" not in html
    frame = result.to_frame()
    assert isinstance(frame, pd.DataFrame) and len(frame)
    assert html.count("<tr") - 1 == min(len(frame), SHOWN_ROWS)
    assert ("more rows" in html) == (len(frame) > SHOWN_ROWS)


def test_it_is_drawn_by_both_names(result: Result) -> None:
    assert [len(figure.axes) for figure in (result.figure(), result.plot())] == [len(result.figure().axes)] * 2
    assert result.figure().axes


def test_an_unknown_view_names_the_known_ones(result: Result) -> None:
    with pytest.raises(errors.SelectionError, match="has no view 'nothing'") as caught:
        result.figure("nothing")
    assert all(view in str(caught.value) for view in result.views)


@pytest.mark.parametrize("name", ["HeadImportance", "TokenImportance"])
def test_a_page_needs_nothing_else(name: str, tmp_path: Path) -> None:
    result = made(name)
    page = result.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<svg" in page and "<table" in page and "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    with pytest.raises(errors.InputError, match="does not exist"):
        result.to_html(tmp_path / "missing" / "page.html")


def test_text_in_a_notebook_is_no_markup() -> None:
    importance: Any = analyzer().token_importance("<b>x</b> and <i>y</i>")
    assert "<b>" not in importance._repr_html_()
