"""Pages run by Streamlit's own AppTest, without a browser; the dashboard listens to this machine only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

streamlit = pytest.importorskip("streamlit", reason="streamlit is not installed")

from streamlit import config  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

SCRIPT = """
from importlib import import_module
from attention_analyzer.dashboard.error_boundary import guarded

with guarded():
    import_module("attention_analyzer.dashboard.pages.{name}").show()
"""


@pytest.fixture(autouse=True)
def own_machine() -> Iterator[None]:
    settings = {"server.address": "localhost", "runner.magicEnabled": False}
    before = {name: config.get_option(name) for name in settings}
    for name, value in settings.items():
        config.set_option(name, value)
    yield
    for name, value in before.items():
        config.set_option(name, value)


@pytest.fixture
def page() -> Callable[..., AppTest]:
    """A page, run once, with what its address says."""

    def run(name: str, **address: str | list[str]) -> AppTest:
        app = AppTest.from_string(SCRIPT.format(name=name), default_timeout=120)
        for key, value in address.items():
            app.query_params[key] = value
        return app.run()

    return run


def words(app: AppTest) -> str:
    """Everything that a page says, in one string."""
    kinds = ("header", "subheader", "markdown", "caption", "info", "error", "warning", "success")
    return "\n".join(element.value for kind in kinds for element in getattr(app, kind))
