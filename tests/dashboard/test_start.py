"""The start page and the menu: every question has examples that open, and tables have titles for people."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attention_analyzer.dashboard.columns import TITLES, title_of, titles, worth_showing
from attention_analyzer.dashboard.navigation import PAGES

Page = Callable[..., AppTest]
ROOT = Path(__file__).parents[2]


def test_every_page_is_there_once_and_every_question_has_three_examples() -> None:
    assert len({entry.name for entry in PAGES}) == len(PAGES)
    for entry in PAGES:
        assert callable(import_module(f"attention_analyzer.dashboard.pages.{entry.name}").show)
        assert not entry.question or len(entry.examples) >= 3, entry.name
        assert entry.section or entry is PAGES[0]


def test_the_menu_and_the_start_page_name_every_page() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert not app.exception
    assert not app.error
    shown = " ".join(element.value for element in app.markdown)
    assert all(entry.question in shown for entry in PAGES)


@pytest.mark.parametrize(
    "entry", [entry for entry in PAGES if entry.name in ("explore", "generate")], ids=lambda e: e.name
)
def test_examples_open_without_an_error(page: Page, entry) -> None:
    for _, state in entry.examples:
        app = page(entry.name, **state)
        assert not app.error, app.error[0].value
        assert not app.exception


def test_columns_have_titles_and_empty_ones_are_hidden() -> None:
    table = pd.DataFrame({"stack": ["a", "a"], "beats_random": [1, 2], "self_weight": [0.1, 0.2], "lost": [None, None]})
    assert worth_showing(table) == ["beats_random", "self_weight"]
    config = titles(table)
    assert config["beats_random"]["label"] == "Measures better than random"
    assert config["self_weight"]["help"]
    assert title_of("special_weight") == "Special weight"
    assert all(title and not title.startswith(" ") for title, _ in TITLES.values())
