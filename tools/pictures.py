"""Draw the documentation's pictures of the viewer and the dashboard again: ``python tools/pictures.py [name …]``.

They are screenshots of the running software in Chromium, so they show what a reader will see.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))

from attention_analyzer import AttentionAnalyzer  # noqa: E402
from benchmarks.streamlit_session import server  # noqa: E402

PAIR = ("The animal didn't cross the street because it was too tired.", "It's unbelievably overcautious, she said.")
REPEATED = "Mr and Mrs Smith went to town in the morning. Mr and Mrs Smith came home at night."
OTHER = "Mr and Mrs Brown went to town in the morning. Mr and Mrs Brown came home at night."


@dataclass(frozen=True)
class View:
    """One picture of the viewer.

    Attributes:
        page: which page, of :data:`PAGES`.
        state: what it shows; ``size``: of the window in CSS pixels.
    """

    page: str
    state: dict[str, Any]
    size: tuple[int, int] = (1000, 640)


@dataclass(frozen=True)
class Screen:
    """One picture of the dashboard.

    Attributes:
        address: the page; ``state``: its address's parameters.
        before: what a person does before the picture is taken.
        width: of the window in CSS pixels; the height is the page's own.
    """

    address: str
    state: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Page], None] | None = None
    width: int = 1100


def _press(name: str) -> Callable[[Page], None]:
    def press(page: Page) -> None:
        page.get_by_role("button", name=name).first.click()
        page.get_by_test_id("stDataFrame").first.wait_for()
        _settled(page, 2000)

    return press


PAGES: dict[str, Callable[[Path], Path]] = {
    "pair": lambda path: AttentionAnalyzer("all-MiniLM-L6-v2").record(PAIR).to_html(path),
    "repeated": lambda path: AttentionAnalyzer("demo-decoder").record(REPEATED).to_html(path),
    "two": lambda path: (
        AttentionAnalyzer("demo-decoder")
        .record(REPEATED)
        .to_html(path, AttentionAnalyzer("demo-decoder").record(OTHER))
    ),
}
_INDUCTION = {"site": "decoder.self.4", "head": 2, "units": "words"}
VIEWS: dict[str, View] = {
    "viewer-heads": View("pair", {"view": "heads"}, (1280, 860)),
    "viewer-matrix": View(
        "pair", {"view": "matrix", "site": "encoder.self.1", "head": 4, "units": "words", "query": 10, "key": 9}
    ),
    "viewer-arcs": View("repeated", {"view": "arcs", **_INDUCTION, "query": 12}),
    "viewer-text": View("repeated", {"view": "text", **_INDUCTION, "query": 12}),
    "viewer-products": View("pair", {"view": "products", "site": "encoder.self.0", "head": 2, "query": 8, "key": 7}),
    "viewer-space": View("repeated", {"view": "space", **_INDUCTION}),
    "viewer-difference": View("two", {"view": "difference", **_INDUCTION}),
    "viewer-dark": View("pair", {"view": "heads", "theme": "dark"}, (1280, 860)),
}
SCREENS: dict[str, Screen] = {
    "dashboard-explore": Screen(
        "", {"model": "demo-decoder", "text": REPEATED, "layer": 4, "head": 2, "view": "matrix"}
    ),
    "dashboard-heads": Screen("heads", {"model": "demo-decoder", "question": "Which look alike?"}, _press("Measure")),
    "dashboard-training": Screen("training"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures to draw; all by default")
    wanted = parser.parse_args().names or [*VIEWS, *SCREENS]
    unknown = set(wanted) - VIEWS.keys() - SCREENS.keys()
    if unknown:
        sys.exit(f"There is no picture {min(unknown)}; there are {', '.join([*VIEWS, *SCREENS])}.")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as running, tempfile.TemporaryDirectory() as folder:
        browser = running.chromium.launch(executable_path=executable, args=arguments)
        page_of = functools.cache(lambda name: PAGES[name](Path(folder) / f"{name}.html"))
        for name in (name for name in VIEWS if name in wanted):
            _draw_view(browser, name, VIEWS[name], page_of(VIEWS[name].page))
        screens = [name for name in SCREENS if name in wanted]
        if screens:
            with server() as address:
                for name in screens:
                    _draw_screen(browser, name, SCREENS[name], address)


@contextmanager
def _window(browser: Browser, width: int, height: int) -> Iterator[Page]:
    """Two pixels of the picture for one of the page, so that it is sharp on any screen."""
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=1.5)
    yield context.new_page()
    context.close()


def _draw_view(browser: Browser, name: str, view: View, path: Path) -> None:
    with _window(browser, *view.size) as page:
        page.goto(f"{path.as_uri()}#state={urllib.parse.quote(json.dumps(view.state))}")
        page.wait_for_timeout(4000 if view.state["view"] == "space" else 1500)
        page.screenshot(path=IMAGES / f"{name}.png")
    print(name)


def _draw_screen(browser: Browser, name: str, screen: Screen, address: str) -> None:
    with _window(browser, screen.width, 900) as page:
        page.set_default_timeout(180_000)
        page.goto(f"http://{address}/{screen.address}?{urllib.parse.urlencode(screen.state)}")
        _settled(page, 4000)
        if screen.before is not None:
            screen.before(page)
        # Streamlit scrolls within the page; a window as high as its content shows all of it.
        height = page.locator("[data-testid=stMainBlockContainer]").evaluate("block => block.scrollHeight")
        page.set_viewport_size({"width": screen.width, "height": int(height) + 20})
        _settled(page, 2500)
        page.screenshot(path=IMAGES / f"{name}.png")
    print(name)


def _settled(page: Page, milliseconds: int) -> None:
    """Wait until the server has nothing more to say, and a while for the drawing."""
    page.wait_for_timeout(500)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(milliseconds)


if __name__ == "__main__":
    main()
