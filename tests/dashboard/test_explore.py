"""Explore and Generate: what is shown is what the library gives, from the boxes as from the address."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.dashboard import model_cache
from attention_analyzer.dashboard.first_paint import MODEL, PICTURE
from attention_analyzer.dashboard.inputs import EXAMPLE, OWN_EXAMPLES
from attention_analyzer.dashboard.model_cache import record_of
from attention_analyzer.dashboard.pages import explore
from attention_analyzer.view.content import payload
from attention_analyzer.view.payload import read_payload
from tests.dashboard.conftest import words

Page = Callable[..., AppTest]
TEXT = "Cats chase mice at night."
DATE = "The third of May, nineteen eighty-seven."


def analyzer(name: str = "demo-encoder") -> AttentionAnalyzer:
    return AttentionAnalyzer(name, cache=False)


def entropy_of(table: pd.DataFrame, layer: int, head: int) -> str:
    row = table[(table["layer"] == layer) & (table["head"] == head)].iloc[0]
    return f"entropy {row['entropy']:.2f} nats"


def test_explore_says_what_the_record_says(page: Page) -> None:
    app = page("explore", model="demo-encoder", text=TEXT)
    table = analyzer().record(TEXT).heads()
    app.selectbox(key="layer").set_value(3)
    app.selectbox(key="head").set_value(2).run()
    assert "L3H2 in words" in words(app)
    assert entropy_of(table, 3, 2) in words(app)
    pd.testing.assert_frame_equal(app.dataframe[0].value.reset_index(drop=True), table, check_dtype=False)
    assert not app.error
    assert not app.exception


def test_a_link_leads_to_the_head_and_the_weight(page: Page) -> None:
    app = page("explore", model="demo-encoder", text=TEXT, layer="2", head="4", query="2 chase", key="3 mice")
    assert "L2H4 in words" in words(app)
    weight = float(analyzer().record(TEXT).weights(2, 4)[2, 3])
    assert f"“chase” looks at “mice” with weight **{weight:.3f}**" in words(app)


@pytest.mark.parametrize("address", [{"layer": "77"}, {"layer": "x"}, {"query": "99 no"}, {"head": "-1"}])
def test_a_link_to_what_is_not_there_shows_the_first(page: Page, address: dict[str, str]) -> None:
    app = page("explore", model="demo-encoder", text=TEXT, **address)
    assert "L0H0 in words" in words(app)
    assert not app.error


def test_a_changed_selection_runs_no_forward(page: Page) -> None:
    text = "A sentence that only this test reads."
    app = page("explore", model="demo-encoder", text=text)
    record = record_of("demo-encoder", text)
    app.selectbox(key="layer").set_value(1).run()
    assert record_of("demo-encoder", text) is record
    assert entropy_of(record.heads(), 1, 0) in words(app)


def test_several_models_stand_side_by_side(page: Page) -> None:
    app = page("explore", model=["demo-encoder", "demo-decoder"], text=TEXT)
    assert len(app.get("bidi_component")) == 2
    assert entropy_of(analyzer().record(TEXT).heads(), 0, 0) in words(app)
    app.segmented_control(key="detail").set_value("demo-decoder").run()
    assert entropy_of(analyzer("demo-decoder").record(TEXT).heads(), 0, 0) in words(app)


def test_a_text_too_long_may_be_cut(page: Page) -> None:
    app = page("explore", model="demo-encoder", text="word " * 700)
    assert "702 tokens" in words(app)
    app.toggle(key="cut").set_value(True).run()
    assert "L0H0 in words" in words(app)
    assert "truncate=True" in app.code[0].value


def test_long_texts_survive_a_reload_without_standing_in_the_address(page: Page) -> None:
    text = "Many words make a long text. " * 200
    app = page("explore", model="demo-encoder")
    app.text_area(key="text").set_value(text).run()
    assert "text" not in app.query_params
    again = page("explore", model="demo-encoder", **{"text-shelf": app.query_params["text-shelf"]})
    assert again.text_area(key="text").value == text


@pytest.mark.parametrize(
    ("name", "address", "table"),
    [
        ("explore", {"model": "demo-decoder", "text": 'A "quoted" text\nwith a line.', "layer": "1"}, "heads.csv"),
        ("explore", {"model": "demo-encoder", "text": TEXT, "second": "And a second one."}, "heads.csv"),
        ("generate", {"model": "demo-decoder", "prompt": "Once", "tokens": "7", "vary": "true"}, "written.csv"),
        ("generate", {"model": "demo-translator", "prompt": DATE}, "written.csv"),
    ],
)  # fmt: skip
def test_the_script_makes_again_what_is_shown(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, address: dict[str, str], table: str
) -> None:
    app = page(name, **address)
    assert not app.error
    script = tmp_path / "script.py"
    script.write_text(app.code[-1].value, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script))
    made = pd.read_csv(tmp_path / table, keep_default_na=False)
    shown = app.dataframe[0].value.reset_index(drop=True)
    pd.testing.assert_frame_equal(made, shown.fillna("") if name == "explore" else shown, check_dtype=False)
    assert list(tmp_path.glob("*.html"))


def test_a_model_that_cannot_write_says_so(page: Page) -> None:
    app = page("generate", model="demo-encoder")
    assert "cannot generate" in app.error[0].value


def test_an_example_that_nobody_changed_follows_the_model(page: Page) -> None:
    app = page("generate", model="demo-decoder")
    app.multiselect(key="model").set_value(["demo-translator"]).run()
    assert app.code[0].value == "1984-03-23"
    app.text_area(key="prompt").set_value("The first of June, nineteen twelve.").run()
    app.multiselect(key="model").set_value(["demo-decoder"]).run()
    assert app.text_area(key="prompt").value == "The first of June, nineteen twelve."
    app = page("explore", model="demo-encoder")
    app.multiselect(key="model").set_value(["demo-translator"]).run()
    assert app.text_area(key="text").value == OWN_EXAMPLES["demo-translator"]


def test_what_is_written_is_what_the_library_writes(page: Page) -> None:
    app = page("generate", model="demo-translator", prompt=DATE)
    assert app.code[0].value == analyzer("demo-translator").generate(DATE).notes["written"].strip()


def test_the_opening_picture_is_what_the_bundled_model_shows() -> None:
    shown = read_payload(PICTURE.read_bytes())
    now = read_payload(payload(analyzer(MODEL).record(EXAMPLE)))
    (before,), (after,) = (each.header["records"] for each in (shown, now))
    for part in ("tokens", "sites", "fingerprint"):
        assert before[part] == after[part], f"{part} differ; make the picture again: python tools/opening.py"
    names = [[(label["site"], label["head"], label["name"]) for label in each["labels"]] for each in (before, after)]
    assert names[0] == names[1]
    for number in range(len(now.header["blocks"])):
        step = 1 if now.block(number).dtype.kind in "iu" else 2e-3
        np.testing.assert_allclose(shown.block(number).astype(float), now.block(number).astype(float), atol=step)


def test_a_server_that_has_answered_nothing_opens_with_the_example(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(model_cache, "_ANSWERED", Event())
    monkeypatch.setattr(explore, "opening_view", lambda name, height: shown.append(name))
    model_cache.record_of.clear()
    app = page("explore")
    assert shown == [f"view-{MODEL}"]
    assert "L0H0 in words" in words(app)
    assert model_cache.has_answered()
    page("explore")
    monkeypatch.setattr(model_cache, "_ANSWERED", Event())
    page("explore", text="Another text.")
    page("explore", head="3")
    assert len(shown) == 1
