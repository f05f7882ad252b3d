"""The page Conversation shows what ``analyzer.sources`` finds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pandas as pd
from streamlit.testing.v1 import AppTest

from attention_analyzer import AttentionAnalyzer
from tests.dashboard.conftest import words

PROMPT = "The boy named Tom went home. He saw the old house. Then the boy named"


def test_sources_of_a_prompt(page: Callable[..., AppTest]) -> None:
    asked = json.dumps({"prompt": PROMPT, "answer": " Tom"})
    app = page("conversation", model="demo-decoder", chat=asked)
    assert not app.exception and not app.error
    found = AttentionAnalyzer("demo-decoder", cache=False).sources(PROMPT, answer=" Tom")
    pd.testing.assert_frame_equal(app.dataframe[0].value, found.table)
    assert "sentence 1" in words(app) and app.code[0].value == "Tom"


def test_what_is_no_chat_is_said(page: Callable[..., AppTest]) -> None:
    assert "is no JSON" in page("conversation", model="demo-decoder", chat="{broken").error[0].value
    assert "holds no chat" in page("conversation", model="demo-decoder", chat="[1]").error[0].value
    assert "cannot generate text" in page("conversation", model="demo-encoder", chat="x").error[0].value


def test_prompt_and_answer_are_read_by_parts_on_demand(page: Callable[..., AppTest]) -> None:
    app = page("conversation", model="demo-decoder", chat=json.dumps({"prompt": PROMPT, "answer": " Tom"}))
    (switch,) = [each for each in app.toggle if each.label.startswith("Read prompt and answer")]
    app = switch.set_value(True).run(timeout=120)
    assert not app.exception and not app.error
    assert app.get("bidi_component")
