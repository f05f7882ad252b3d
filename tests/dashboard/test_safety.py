"""What strangers may not do, what they may not read, and what stays text."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from attention_analyzer.dashboard.error_boundary import plain
from attention_analyzer.dashboard.settings import Settings
from tests.dashboard.conftest import words

Page = Callable[..., AppTest]


def test_a_list_of_models_is_all_there_is(page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATTENTION_ANALYZER_MODELS", "demo-encoder, demo-decoder")
    for name in (str(tmp_path), "demo-translator", "someone/else"):
        app = page("explore", model=name)
        assert name not in app.multiselect(key="model").value
        app.multiselect(key="model").set_value([name])
        app.run()
        assert not app.get("bidi_component") or name not in words(app)
    assert page("explore", model="demo-decoder").multiselect(key="model").value == ["demo-decoder"]


def test_what_is_not_offered_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from attention_analyzer.dashboard.model_cache import analyzer_of
    from attention_analyzer.errors import InputError

    monkeypatch.setenv("ATTENTION_ANALYZER_MODELS", "demo-encoder")
    with pytest.raises(InputError, match="not offered here"):
        analyzer_of("demo-decoder")


def test_an_address_beyond_this_machine_means_strangers() -> None:
    assert not Settings.here().shared
    config.set_option("server.address", "0.0.0.0")
    settings = Settings.here()
    assert settings.shared
    assert "demo-encoder" in settings.models


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/srv/private/models/mine could not be loaded.", "…/mine could not be loaded."),
        ("No 'C:\\Users\\me\\secret\\model.bin' here", "No '…/model.bin' here"),
        ("either/or and 1/2 stay, https://a.test/b/c too", "either/or and 1/2 stay, https\\://a.test/b/c too"),
        ("*bold* [x](y) <b> $x$ :red[z]", "\\*bold\\* \\[x\\](y) \\<b\\> \\$x\\$ \\:red\\[z\\]"),
    ],
)
def test_messages_are_plain(message: str, shown: str) -> None:
    assert plain(message) == shown


def test_an_unexpected_error_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def script() -> None:
        from attention_analyzer.dashboard.error_boundary import guarded

        with guarded():
            raise RuntimeError("secret detail in /srv/private/file")

    with caplog.at_level(logging.ERROR, "attention_analyzer.dashboard"):
        app = AppTest.from_function(script, default_timeout=120).run()
    assert "secret" not in words(app)
    assert not app.exception
    (entry,) = [record for record in caplog.records if record.name == "attention_analyzer.dashboard"]
    assert "secret detail" in str(entry.exc_info)
    assert entry.args[0] in app.error[0].value


def test_a_folder_that_is_no_model_is_named_without_its_place(page: Page, tmp_path: Path) -> None:
    app = page("explore", model=str(tmp_path))
    assert tmp_path.name in app.error[0].value.replace("\\", "")
    assert str(tmp_path.parent) not in app.error[0].value.replace("\\", "")


def test_texts_are_bounded(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_ANALYZER_LONGEST_TEXT", "30")
    assert page("explore", model="demo-encoder", text="short").text_area(key="text").proto.max_chars == 30
