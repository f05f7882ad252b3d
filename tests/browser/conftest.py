"""One Chromium for all browser tests; they are skipped, with the reason, where there is none."""

from __future__ import annotations

import functools
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from attention_analyzer.record import AttentionRecord

#: Milliseconds. Tests and a dashboard that imports everything run beside one another, on few cores.
PATIENCE = 180_000


class Opened:
    """A page of the viewer and everything that went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda entry: self.problems.append(entry.text) if entry.type == "error" else None)
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))
        page.add_init_script(
            "window.drawn = []; document.addEventListener('attention:drawn', (e) => window.drawn.push(e.detail));"
            "document.addEventListener('attention:selection', (e) => (window.selection = e.detail));"
        )

    def go(self, path: Path, state: dict[str, Any] | None = None) -> Opened:
        address = path.resolve().as_uri()
        if state is not None:
            address += f"#state={urllib.parse.quote(json.dumps(state))}"
        self.page.goto(address)
        return self

    def drawn(self, view: str, what: str = "whole", timeout: float = PATIENCE) -> None:
        """Wait until a view has drawn and stands on the screen."""
        self.page.wait_for_function(
            "([view, what]) => window.drawn.some((d) => d.view === view && d.what === what)",
            arg=[view, what],
            timeout=timeout,
        )
        self.settle()

    def settle(self) -> None:
        """Wait for one whole drawing: what changes is drawn in the next frame, on a busy machine after a while."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def until(self, condition: str, given: Any = None) -> None:
        """Wait until a condition holds in the page; `root` is the viewer's shadow root in it, `given` what is given."""
        root = "document.querySelector('.attention-viewer').shadowRoot"
        self.page.wait_for_function(
            f"(given) => {{ const root = {root}; return {condition}; }}",
            arg=given,
            timeout=PATIENCE,
        )

    def set(self, **state: Any) -> None:
        """Change the state as a link would, and wait until it is drawn."""
        self.page.evaluate(
            "(s) => { const v = document.getElementById('attention-view').viewer; v.restore({...v.state(), ...s}); }",
            state,
        )
        self.settle()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("document.getElementById('attention-view').viewer.state()")
        return found

    def foot(self) -> str:
        return str(self.page.locator(".foot").inner_text())

    def canvas(self, name: str = ".view .scroller canvas") -> dict[str, float]:
        box: dict[str, float] = self.page.locator(name).bounding_box()
        return box

    def colors(self, selector: str = ".view .scroller canvas") -> int:
        """How many different colors a canvas shows: a blank one has few."""
        return int(
            self.page.evaluate(
                """(selector) => {
                  const root = document.querySelector('.attention-viewer').shadowRoot;
                  const canvas = root.querySelector(selector);
                  const copy = document.createElement('canvas');
                  [copy.width, copy.height] = [canvas.width, canvas.height];
                  const pen = copy.getContext('2d');
                  pen.drawImage(canvas, 0, 0);
                  const data = new Uint32Array(pen.getImageData(0, 0, copy.width, copy.height).data.buffer);
                  return new Set(data).size;
                }""",
                selector,
            )
        )


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1100, "height": 720}, accept_downloads=True)
    shown = Opened(context.new_page())
    yield shown
    context.close()
    assert shown.problems == []
    assert [url for url in shown.requests if not url.startswith(("file:", "blob:", "data:", "http://127.0.0.1"))] == []


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a record's page, once for equal names."""
    folder = tmp_path_factory.mktemp("pages")

    def write(
        name: str, make: Callable[[], AttentionRecord], other: AttentionRecord | None = None, **more: Any
    ) -> Path:
        path = folder / f"{name}.html"
        return path if path.exists() else make().to_html(path, other, **more)

    return write


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
