"""The dashboard as a person uses it: pages in Chromium, an upload and a cancel, hostile texts, reloads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from attention_analyzer import AttentionAnalyzer
from benchmarks.streamlit_session import server
from tests.browser.conftest import Opened

pytest.importorskip("streamlit", reason="streamlit is not installed")
#: Milliseconds: a loaded machine takes long to import everything.
PATIENCE = 60_000
TEXT = "Cats chase mice at night."
HOSTILE = "<img src=x onerror=window.hit=1> **bold** [x](javascript:window.hit=1) $x$ :red[y] ![](http://e.test/x.png)"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A dashboard of this checkout; without the compiled pass, which would be built for this process alone."""
    with server(OMP_NUM_THREADS="1", ATTENTION_ANALYZER_KERNEL="off") as place:
        yield f"http://{place}"


class Dashboard:
    """A page of the dashboard in a browser."""

    def __init__(self, opened: Opened, address: str) -> None:
        self.page = opened.page
        self.page.set_default_timeout(PATIENCE)
        self.address = address
        # Chromium tells of pages that Streamlit looks for in vain under the page's own address.
        opened.page.on("console", lambda entry: self._forgive(opened, entry.text))

    @staticmethod
    def _forgive(opened: Opened, text: str) -> None:
        opened.problems[:] = [problem for problem in opened.problems if "404" not in problem]

    def go(self, name: str = "", **state: Any) -> Dashboard:
        self.page.goto(f"{self.address}/{name}?{urlencode(state, doseq=True)}", timeout=PATIENCE)
        return self.ready()

    def ready(self) -> Dashboard:
        """Wait until the server has nothing more to say."""
        done = "[data-testid=stApp][data-test-script-state=notRunning]"
        self.page.wait_for_timeout(150)
        self.page.locator(done).wait_for(timeout=PATIENCE)
        self.page.wait_for_timeout(250)
        self.page.locator(done).wait_for(timeout=PATIENCE)
        return self

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_role("combobox", name=re.compile(label)).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.ready()

    def says(self, text: str | re.Pattern[str], seconds: float = PATIENCE / 1000) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=1000 * seconds)


@pytest.fixture
def dashboard(opened: Opened, address: str) -> Dashboard:
    return Dashboard(opened, address)


def test_hostile_texts_stay_texts(dashboard: Dashboard) -> None:
    page = dashboard.go(
        model="demo-decoder", text=HOSTILE, query="2 img", change="<img src=x onerror=window.hit=1>"
    ).page
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None
    assert page.locator("[data-testid=stMain] img").count() == 0
    dashboard.says(re.compile("onerror=window.hit"))
    page.goto(f"{dashboard.address}/generate?{urlencode({'model': 'demo-decoder', 'prompt': HOSTILE})}")
    dashboard.ready().says("What each written token looked at")
    assert page.evaluate("window.hit") is None


def test_a_translator_writes(dashboard: Dashboard) -> None:
    dashboard.go("generate", model="demo-translator", prompt="3 May 1987")
    written = AttentionAnalyzer("demo-translator", cache=False).generate("3 May 1987").notes["written"].strip()
    dashboard.says(written)


def test_files_are_dropped_read_and_searched(dashboard: Dashboard, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The cat sat.\nShe saw the dog.\n", encoding="utf-8")
    (tmp_path / "reviews.csv").write_text("id,review\n1,Good film.\n2,Bad,row\n", encoding="utf-8")
    page = dashboard.go("files", model="demo-decoder").page
    page.locator("input[type=file]").set_input_files([tmp_path / "notes.txt", tmp_path / "reviews.csv"])
    dashboard.ready()
    dashboard.choose("Column", "review")
    page.get_by_role("button", name="Read 2 files").click()
    dashboard.says(re.compile("3 texts, .* 1 row left out"))
    page.wait_for_function("location.search.includes('scan=')")
    page.reload()
    dashboard.ready().says("The result of before")
    dashboard.says(re.compile("3 texts"))


def test_long_work_can_be_cancelled(dashboard: Dashboard, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("A line that is read again and again.\n" * 60_000, encoding="utf-8")
    page = dashboard.go("files", model="demo-decoder").page
    page.locator("input[type=file]").set_input_files(tmp_path / "long.txt")
    page.get_by_role("button", name="Read 1 file").click()
    dashboard.says(re.compile("Reading: .*texts .*left"))
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Read 1 file").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=PATIENCE)


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("tokens", {"method": ["received"], "text": TEXT}, "How far each can be trusted here"),
        ("training", {"step": "905", "measure": "induction"}, "Patterns at step"),
        ("language", {}, "Which heads know grammar?"),
        ("compare", {"others": "The dog\nHe gave\nWe sold"}, "Heads, the most different first"),
    ],
)  # fmt: skip
def test_every_other_page_answers(dashboard: Dashboard, name: str, state: dict[str, Any], said: str) -> None:
    page = dashboard.go(name, model="demo-decoder", **state).page
    dashboard.says(said)
    assert page.locator("[data-testid=stAlert]").filter(has_text="went wrong").count() == 0
    page.reload()
    dashboard.ready().says(said)
