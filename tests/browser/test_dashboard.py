"""The dashboard as a person uses it: every page in Chromium, an upload, a what-if, exports opened again, reloads."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import pytest

from attention_analyzer import AttentionAnalyzer
from benchmarks.streamlit_session import server
from tests.browser.conftest import PATIENCE, Opened

pytest.importorskip("streamlit", reason="streamlit is not installed")
TEXT = "Cats chase mice at night."
DATE = "The third of May, nineteen eighty-seven."
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

    def go(self, name: str = "explore", **state: Any) -> Dashboard:
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

    def type(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.fill(text)
        box.press("Control+Enter")
        self.ready()

    def choose(self, label: str, option: str) -> None:
        self.ready()  # a page that is drawn anew closes its boxes
        box = self.page.get_by_role("combobox", name=label, exact=True)
        box.click()
        box.fill(option)
        # The list is drawn by the browser after the letters came; Enter before that chooses nothing.
        self.page.get_by_role("option", name=option, exact=True).first.wait_for()
        box.press("Enter")
        self.ready()

    def open(self, name: str) -> Any:
        expander = self.page.locator("[data-testid=stExpander]").filter(has_text=name).first
        expander.locator("summary").click()
        return expander

    def saved(self, place: Any, name: str, row: int = 0) -> Path:
        with self.page.expect_download(timeout=PATIENCE) as download:
            place.get_by_role("button", name=name, exact=True).nth(row).click()
        return Path(download.value.path())

    def holds(self, label: str, text: str) -> None:
        """Wait until a box for text holds this one."""
        self.page.wait_for_function(
            "([label, text]) => document.querySelector(`[aria-label='${label}']`)?.value === text", arg=[label, text]
        )

    def says(self, text: str | re.Pattern[str], seconds: float = PATIENCE / 1000) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=1000 * seconds)


@pytest.fixture
def dashboard(opened: Opened, address: str) -> Dashboard:
    return Dashboard(opened, address)


def record() -> Any:
    return AttentionAnalyzer("demo-decoder", cache=False).record(TEXT)


def test_explore_from_the_keyboard_to_the_address_and_back(dashboard: Dashboard) -> None:
    page = dashboard.go(model="demo-decoder").page
    dashboard.type("Text", TEXT)
    page.locator(".view canvas").first.focus()
    page.keyboard.press("}")
    page.keyboard.press("]")
    dashboard.says("L1H1 in words")
    page.keyboard.press("3")
    page.wait_for_function("location.search.includes('view=arcs')")
    page.wait_for_function(
        "(parts) => parts.every((part) => location.search.slice(1).split('&').includes(part))",
        arg=["layer=1", "head=1", "model=demo-decoder"],
    )
    dashboard.choose("Head", "5")
    dashboard.says("L1H5 in words")
    page.locator(".attention-viewer .now").filter(has_text=re.compile("^L1H5")).wait_for()
    page.get_by_role("tab", name="Arcs", selected=True).wait_for()
    page.reload()
    dashboard.ready()
    dashboard.says("L1H5 in words")
    dashboard.holds("Text", TEXT)
    page.get_by_role("tab", name="Arcs", selected=True).wait_for()
    page.get_by_role("link", name="Generate").click()
    dashboard.says("What each generated token attended to")
    page.get_by_role("link", name="Explore").click()
    dashboard.says("L1H5 in words")
    dashboard.holds("Text", TEXT)
    assert page.locator(".attention-viewer").count() == 1


def test_a_weight_chosen_in_the_picture_is_knocked_out(dashboard: Dashboard) -> None:
    page = dashboard.go(model="demo-decoder", text=TEXT, layer=1, head=5, view="matrix").page
    canvas = page.locator(".view canvas").first
    box = canvas.bounding_box()
    canvas.click(position={"x": 0.3 * box["width"], "y": 0.5 * box["height"]})  # below the diagonal
    page.wait_for_function("location.search.includes('key=')")
    dashboard.ready()
    page.get_by_role("button", name="Knock out this weight").click()
    dashboard.says(re.compile("goes from"))
    edge = re.search(r"change=L1H5%3A(\d+)%3E(\d+)", page.url)
    assert edge is not None
    found = record().what_if(knock_out=f"L1H5:{edge[1]}>{edge[2]}")
    dashboard.says(f"{found.before:.1%} to {found.after:.1%}")
    page.get_by_role("button", name="Ablate L1H5").click()
    silent = record().what_if(ablate="L1H5")
    dashboard.says(f"{silent.before:.1%} to {silent.after:.1%}")
    page.reload()
    dashboard.ready().says(f"{silent.before:.1%} to {silent.after:.1%}")


def test_what_is_exported_opens_again(dashboard: Dashboard, opened: Opened, tmp_path: Path) -> None:
    dashboard.go(model="demo-decoder", text=TEXT, layer=1, head=5)
    export = dashboard.open("Export")
    table = record().heads()
    for read in (
        pd.read_csv(dashboard.saved(export, "CSV")),
        pd.read_parquet(dashboard.saved(export, "Parquet")),
        pd.read_json(io.BytesIO(dashboard.saved(export, "JSON").read_bytes())),
    ):
        # The server runs without the compiled pass, whose sums round in another order.
        pd.testing.assert_frame_equal(read, table, check_dtype=False, rtol=1e-4, atol=1e-6)
    assert b"<svg" in dashboard.saved(export, "SVG").read_bytes()
    assert dashboard.saved(export, "PNG").read_bytes().startswith(b"\x89PNG")
    assert dashboard.saved(export, "PDF").read_bytes().startswith(b"%PDF")
    page = tmp_path / "attention.html"
    page.write_bytes(dashboard.saved(export, "Page (HTML)").read_bytes())
    opened.go(page, {"view": "matrix", "site": "decoder.self.1", "head": 5}).drawn("matrix")
    assert opened.foot().startswith("L1H5")


def test_hostile_texts_stay_texts(dashboard: Dashboard) -> None:
    page = dashboard.go(
        model="demo-decoder", text=HOSTILE, query="2 img", change="<img src=x onerror=window.hit=1>"
    ).page
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None
    assert page.locator("[data-testid=stMain] img").count() == 0
    dashboard.says(re.compile("onerror=window.hit"))
    page.goto(f"{dashboard.address}/generate?{urlencode({'model': 'demo-decoder', 'prompt': HOSTILE})}")
    dashboard.ready().says("What each generated token attended to")
    assert page.evaluate("window.hit") is None


def test_a_translator_writes(dashboard: Dashboard) -> None:
    dashboard.go("generate", model="demo-translator", prompt=DATE)
    dashboard.says("1987-05-03")
    assert AttentionAnalyzer("demo-translator", cache=False).generate(DATE).notes["written"].strip() == "1987-05-03"


def test_files_are_dropped_read_and_searched(dashboard: Dashboard, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The cat sat.\nShe saw the dog.\n", encoding="utf-8")
    (tmp_path / "reviews.csv").write_text("id,review\n1,Good film.\n2,Bad,row\n", encoding="utf-8")
    page = dashboard.go("files", model="demo-decoder").page
    page.locator("input[type=file]").set_input_files([tmp_path / "notes.txt", tmp_path / "reviews.csv"])
    dashboard.ready()
    dashboard.choose("Column with the text", "review")
    page.get_by_role("button", name="Read 2 files").click()
    dashboard.says(re.compile("3 texts, .* 1 row skipped"))
    page.wait_for_function("location.search.includes('scan=')")
    page.reload()
    dashboard.ready().says("Showing your previous scan")
    dashboard.says(re.compile("3 texts"))
    for label, text in (("From", "the"), ("To", "any")):
        box = page.get_by_label(label, exact=True)
        box.fill(text)
        box.press("Enter")
        dashboard.ready()
    page.wait_for_function("location.search.includes('from=the') && location.search.includes('to=any')")
    table = page.get_by_test_id("stDataFrame").last
    table.click(position={"x": 18, "y": 35 + 18})
    dashboard.ready()
    said = page.get_by_text(re.compile(r"^Where L\d+H\d+ looks from the to any$"))
    said.wait_for()
    head = re.search(r"L\d+H\d+", said.inner_text())
    assert head is not None
    page.get_by_role("link", name=f"Open {head[0]} in Explore").wait_for()


def test_long_work_can_be_cancelled(dashboard: Dashboard, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("A line that is read again and again.\n" * 60_000, encoding="utf-8")
    page = dashboard.go("files", model="demo-decoder").page
    page.locator("input[type=file]").set_input_files(tmp_path / "long.txt")
    page.get_by_role("button", name="Read 1 file").click()
    dashboard.says(re.compile("Reading: .*texts .*left"))
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Read 1 file").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=PATIENCE)
    assert "scan=" not in page.url
    assert page.get_by_text("The result of before").count() == 0


@pytest.mark.parametrize(
    ("name", "state", "button", "said"),
    [
        ("heads", {"question": "Which heads matter?"}, "Measure", "Show me the code"),
        ("tokens", {"method": ["received"], "text": TEXT}, "", "How faithful is each method on this text?"),
        ("training", {"step": "905", "measure": "induction"}, "", "Patterns at step"),
        ("language", {}, "", "Which heads know grammar?"),
        ("compare", {"others": "The dog\nHe gave\nWe sold"}, "", "Heads, largest difference first"),
    ],
)  # fmt: skip
def test_every_other_page_answers(
    dashboard: Dashboard, name: str, state: dict[str, Any], button: str, said: str
) -> None:
    page = dashboard.go(name, model="demo-decoder", **state).page
    if button:
        page.get_by_role("button", name=button).click()
        dashboard.open("Export")
    dashboard.says(said)
    assert page.locator("[data-testid=stAlert]").filter(has_text="Unexpected error").count() == 0
    page.reload()
    if not button:
        dashboard.ready().says(said)


def test_narrow_and_dark(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 380, "height": 760}, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{address}/explore?model=demo-decoder")
    page.locator(".attention-viewer").wait_for(timeout=PATIENCE)
    page.get_by_text("in words").wait_for(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    shown = page.locator(".attention-viewer .app").evaluate("app => getComputedStyle(app).backgroundColor")
    assert shown == "rgb(20, 24, 31)"
    context.close()


def test_a_row_leads_to_its_head(dashboard: Dashboard) -> None:
    texts = "The cat sat on the mat.\nShe saw the dog."  # of its own: what another visitor asked is known already
    page = dashboard.go("heads", model="demo-decoder", question="Which heads matter?", texts=texts).page
    page.get_by_role("button", name="Measure").click()
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    dashboard.ready()
    table.click(position={"x": 18, "y": 35 * 3 + 18})  # the box before the third row, drawn on a canvas
    dashboard.ready()
    link = page.get_by_role("link", name=re.compile(r"Open L\d+H\d+ in Explore"))
    head = re.search(r"L\d+H\d+", link.inner_text())
    assert head is not None
    link.click()
    dashboard.says(f"{head[0]} in words")
    assert page.url.split("?")[0] == f"{dashboard.address}/explore"
    page.reload()
    dashboard.ready().says(f"{head[0]} in words")


def test_the_first_page_can_be_used_while_the_model_loads(dashboard: Dashboard) -> None:
    with server(OMP_NUM_THREADS="1", ATTENTION_ANALYZER_KERNEL="off") as fresh:  # one that has imported nothing yet
        page = dashboard.page
        page.goto(f"http://{fresh}/explore", timeout=PATIENCE)
        page.get_by_text("Loading the model. The summary").wait_for()
        page.locator(".view canvas").first.focus()
        page.keyboard.press("}")
        page.keyboard.press("]")
        dashboard.says("L1H1 in words")
        assert page.locator(".attention-viewer").count() == 1
        assert page.locator(".now").inner_text().startswith("L1H1")
        page.get_by_text("Loading the model. The summary").wait_for(state="detached")
        page.goto("about:blank")  # the server goes away, and the page would ask for it
