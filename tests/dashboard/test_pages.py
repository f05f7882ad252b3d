"""The other pages: each shows what the library gives for what was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.comparison import compare
from attention_analyzer.patterns.in_one_text import remarks
from attention_analyzer.training import History
from tests.dashboard.conftest import words

Page = Callable[..., AppTest]
TEXT = "Cats chase mice at night."


def finished(app: AppTest) -> AppTest:
    """The page once its long work is over."""
    end = time.monotonic() + 120
    while any(button.label == "Cancel" for button in app.button):
        assert time.monotonic() < end, "the work never ended"
        time.sleep(0.1)
        app.run()
    assert not app.error, app.error[0].value
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label.startswith(label)).click()
    return finished(app.run())


def test_what_if_knocks_out_the_chosen_weight_and_silences_the_head(page: Page) -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    pieces = [piece.strip() for piece in analyzer.record(TEXT).tokens.pieces]
    chosen = {"layer": "1", "head": "5", "query": f"4 {pieces[4]}", "key": f"3 {pieces[3]}"}
    app = page("explore", model="demo-decoder", text=TEXT, **chosen)
    press(app, "Knock out")
    found = analyzer.what_if(TEXT, knock_out="L1H5:4>3")
    assert f"{found.before:.1%} to {found.after:.1%}" in words(app)
    assert "knock_out=['L1H5:4>3']" in app.code[0].value
    press(app, "Ablate L1H5")
    silent = analyzer.what_if(TEXT, ablate="L1H5")
    assert app.multiselect(key="change").value == ["L1H5"]
    assert f"{silent.before:.1%} to {silent.after:.1%}" in words(app)
    pd.testing.assert_frame_equal(app.dataframe[0].value, silent.table)


def test_a_change_that_is_no_change_is_told(page: Page) -> None:
    app = page("explore", model="demo-decoder", text=TEXT, change=["nonsense"])
    assert "nonsense" in app.error[0].value


def test_a_head_says_what_stands_out_in_the_text(page: Page) -> None:
    app = page("explore", model="demo-decoder", text=TEXT, layer="1", head="5")
    record = AttentionAnalyzer("demo-decoder", cache=False).record(TEXT)
    said = [remark for remark in remarks(record) if (remark.site, remark.head) == (1, 5)]
    assert said
    for remark in said:
        expected = f"**{remark.strength:.2f}**, control {remark.control:.2f}" if remark.certain else remark.text
        assert expected in words(app)


def test_tokens_are_scored_by_every_chosen_method(page: Page) -> None:
    app = finished(page("tokens", model="demo-decoder", text=TEXT, method=["received", "rollout"], unit="word"))
    found = AttentionAnalyzer("demo-decoder", cache=False).compare_attributions(
        TEXT, methods=("received", "rollout"), unit="word"
    )
    pd.testing.assert_frame_equal(app.dataframe[0].value, found.tokens)
    assert len(app.dataframe[1].value) == 3


def upload(app: AppTest, key: str, *files: tuple[str, str]) -> AppTest:
    """The page after files were dropped on it."""
    app.file_uploader(key=key).set_value([(name, text.encode(), "text/plain") for name, text in files])
    return app.run()


LINES = "The cat sat on the mat.\nShe saw the dog, and it ran.\nBirds sing at dawn.\n"


def test_files_are_read_and_bad_rows_listed(page: Page) -> None:
    table = 'id,review\n1,"Good, really."\n2,Bad,too many\n3,She liked the film.\n'
    app = page("files", model="demo-encoder")
    upload(app, "corpus", ("notes.txt", LINES), ("reviews.csv", table))
    app.selectbox(key="column").set_value("review").run()
    press(app, "Read 2 files")
    assert "5 texts" in app.success[0].value
    problems = app.dataframe[0].value
    assert problems["place"].tolist() == ["reviews.csv, line 3"]
    shown = app.dataframe[1].value
    texts = [*LINES.splitlines(), "Good, really.", "She liked the film."]
    each = AttentionAnalyzer("demo-encoder", cache=False).heads(texts)
    means = each.groupby(["layer", "head"])["entropy"].mean()
    assert shown["mean"].to_numpy() == pytest.approx(means.to_numpy(), abs=1e-5)
    app.text_input(key="from").set_value("she")
    app.text_input(key="to").set_value("any").run()
    assert not app.error
    assert "/" not in "".join(app.dataframe[2].value["place"])
    again = page("files", model="demo-encoder", scan=app.query_params["scan"])
    assert "5 texts" in again.success[0].value


def test_a_column_is_asked_for_before_anything_is_read(page: Page) -> None:
    app = page("files", model="demo-encoder")
    upload(app, "corpus", ("numbers.csv", "a,b\none,2\n"))
    assert not [button for button in app.button if button.label.startswith("Read")]
    assert app.info[-1].value == "Choose the column that holds the text."
    app.selectbox(key="column").set_value("a").run()
    press(app, "Read 1 file")
    assert "1 text," in app.success[0].value


def test_tables_of_other_programs_are_read_as_is_said(page: Page) -> None:
    app = page("files", model="demo-encoder")
    table = "Nr;Größe\n1;Ein Café.\n2;Zwei Züge.\n".encode("cp1252")
    app.file_uploader(key="corpus").set_value([("groß.csv", table, "")]).run()
    assert "if it should read 'Nr;Größe'" in app.warning[0].value.replace("\\", "")
    app.selectbox(key="encoding").set_value("cp1252").run()
    assert "separated by semicolons" in app.warning[0].value
    app.selectbox(key="delimiter").set_value(";").run()
    assert not app.warning
    app.selectbox(key="column").set_value("Größe").run()
    press(app, "Read 1 file")
    assert "2 texts" in app.success[0].value
    app.checkbox(key="header").set_value(False).run()
    assert app.selectbox(key="column").options == ["1", "2"]


def test_a_damaged_file_is_listed_by_its_own_name(page: Page) -> None:
    app = page("files", model="demo-encoder")
    upload(app, "corpus", ("broken.parquet", "this is no parquet"))
    press(app, "Read 1 file")
    assert "0 texts" in app.success[0].value
    problem = app.dataframe[0].value.iloc[0]
    assert problem["place"].startswith("broken.parquet")
    assert "damaged" in problem["reason"]


def test_hostile_files_are_left_out_with_the_reason(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "huge.parquet"
    pq.write_table(pa.table({"text": ["x" * 100_000_000]}), path, compression="zstd")
    app = page("files", model="demo-encoder")
    files = (("deep.jsonl", b"[" * 100_000 + b"\n" + b'"Birds sing."\n'), ("huge.parquet", path.read_bytes()))
    app.file_uploader(key="corpus").set_value([(name, content, "") for name, content in files]).run()
    press(app, "Read 2 files")
    assert "1 text," in app.success[0].value
    reasons = app.dataframe[0].value["reason"].tolist()
    assert reasons[0] == "the line is no JSON (its brackets are nested too deeply)"
    assert reasons[1].startswith("a page unpacks to 100,000,004 bytes")


def test_too_many_files_are_refused(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_ANALYZER_MOST_FILES", "1")
    app = upload(page("files", model="demo-encoder"), "corpus", ("a.txt", LINES), ("b.txt", LINES))
    assert "the maximum is 1" in app.error[0].value


def test_heads_are_asked_about_grammar(page: Page, tmp_path: Path) -> None:
    text = treebank()
    app = page("language", model="demo-encoder", fewest="4", shortest="1")
    app.file_uploader(key="annotated").set_value(("small.conllu", text.encode(), "text/plain"))
    press(app.run(), "Run analysis")
    (tmp_path / "small.conllu").write_text(text, encoding="utf-8")
    found = AttentionAnalyzer("demo-encoder", cache=False).relations(
        tmp_path / "small.conllu", limit=500, min_words=1, max_words=40
    )
    pd.testing.assert_frame_equal(app.dataframe[0].value, found["dependencies"].table(4), check_dtype=False)
    assert "→" in app.text[0].value


def treebank() -> str:
    """Forty short sentences of one form."""
    rows = [("The", "DET", 2, "det"), ("{0}", "NOUN", 3, "nsubj"), ("{1}", "VERB", 0, "root"), ("the", "DET", 5, "det"),
            ("{2}", "NOUN", 3, "obj")]  # fmt: skip
    nouns, verbs = ["cat", "dog", "man", "girl", "horse"], ["saw", "found", "liked", "met"]
    sentences = []
    for number in range(40):
        fill = (nouns[number % 5], verbs[number % 4], nouns[(number + 2) % 5])
        lines = [
            "\t".join([str(at), form.format(*fill), "_", pos, "_", "_", str(governor), label, "_", "_"])
            for at, (form, pos, governor, label) in enumerate(rows, 1)
        ]
        sentences.append("\n".join(lines) + "\n")
    return "\n".join(sentences) + "\n"


def test_heads_are_measured_over_texts(page: Page) -> None:
    texts = ["The cat sat on the mat.", "She saw the dog run.", "Birds sing at dawn."]
    app = press(page("heads", model="demo-decoder", texts="\n".join(texts), question="Which heads matter?"), "Measure")
    found = AttentionAnalyzer("demo-decoder", cache=False).head_importance(texts)
    pd.testing.assert_frame_equal(app.dataframe[0].value, found.table, check_dtype=False, rtol=1e-3)


def test_training_shows_the_chosen_step(page: Page) -> None:
    app = page("training", step="3651", measure="induction", layer="1", head="5")
    assert not app.error
    assert app.select_slider(key="step").value == 3651
    assert any(element.value.startswith("Patterns at step") for element in app.subheader)
    assert "History.load('demo-decoder-history')" in app.code[0].value
    assert app.text[0].value == History.load("demo-decoder-history").report()


def test_two_trainings_stand_beside_each_other(page: Page) -> None:
    app = page("training", other="demo-decoder-history")
    assert not app.error
    history = History.load("demo-decoder-history")
    assert app.text[1].value == str(history.compare(history, ("demo-decoder-history", "demo-decoder-history")))


def test_a_shared_dashboard_opens_no_folder(page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from attention_analyzer.dashboard.pages.training import history_of
    from attention_analyzer.errors import InputError

    monkeypatch.setenv("ATTENTION_ANALYZER_MODELS", "demo-encoder")
    with pytest.raises(InputError, match="not available"):
        history_of(str(tmp_path))


def test_two_models_are_compared(page: Page) -> None:
    texts = ["The cat sat on the mat.", "She saw the dog run."]
    app = finished(
        page("compare", model=["demo-decoder"], compared="\n".join(texts), others="A dog.\nHe ate the fish.")
    )
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    found = compare(analyzer, texts=texts, other_texts=["A dog.", "He ate the fish."])
    pd.testing.assert_frame_equal(app.dataframe[0].value, found.heads, check_dtype=False, rtol=1e-4, atol=1e-6)
    assert app.text[0].value == found.report()


def test_texts_need_their_counterparts(page: Page) -> None:
    app = page("compare", model="demo-decoder", compared="One text.\nAnother.", others="Only one.")
    assert "2 texts and 1 other texts" in app.error[0].value
