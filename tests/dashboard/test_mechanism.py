"""The page Mechanism: a prediction, its heads, what they read and why, each as the library gives it."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attention_analyzer import AttentionAnalyzer
from tests.dashboard.conftest import words
from tests.dashboard.test_pages import finished

Page = Callable[..., AppTest]
TEXT = "Mr and Mrs Smith went to town. Mr and Mrs"


def test_from_a_predicted_token_to_why_a_head_looked(page: Page) -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    app = finished(page("mechanism", model="demo-decoder", text=TEXT, at="11", reader="L4H2", read="4"))
    size = len(analyzer.record(TEXT).tokens)
    at = int(app.selectbox(key="at").value.split()[0])
    assert at == 11 == size - 1
    with_target = analyzer.effects(TEXT, position=11)
    assert with_target.what in words(app)
    heads = with_target.heads()["component"].tolist()[:10]
    reader = app.session_state["reader"].split()[0]
    assert reader in heads
    layer, head = map(int, reader[1:].split("H"))
    read = int(app.session_state["read"].split()[0])
    why = analyzer.why(TEXT, layer, head, 11, read)
    assert why.facts()[0][:40] in words(app).replace("\\", "")
    shown = app.dataframe[0].value
    pd.testing.assert_frame_equal(
        shown.sort_values("component").reset_index(drop=True),
        why.by_component().sort_values("component").reset_index(drop=True),
    )
    assert "analyzer.why(" in app.code[0].value


def test_a_contrast_and_what_cannot_be(page: Page) -> None:
    app = finished(page("mechanism", model="demo-decoder", text="The cat sat on the mat. The cat", versus="sat"))
    assert "over 'sat'" in words(app)
    refused = page("mechanism", model="demo-decoder", text="The cat sat.", versus="unbelievable cats")
    for _ in range(40):
        if refused.error:
            break
        refused.run()
    assert "is not one token" in refused.error[0].value
    headless = page("mechanism", model="all-MiniLM-L6-v2", text="The cat sat.")
    for _ in range(40):
        if headless.error:
            break
        headless.run()
    assert "no language-model head" in headless.error[0].value


@pytest.mark.parametrize("model", ["demo-encoder", "demo-translator"])
def test_other_models(page: Page, model: str) -> None:
    text = "The cat [MASK] on the mat." if model == "demo-encoder" else "today is monday"
    options = {"second": "2024"} if model == "demo-translator" else {"at": "3"}
    app = finished(page("mechanism", model=model, text=text, **options))
    assert "Why did" in words(app)
