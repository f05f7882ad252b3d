"""What a page must survive: hostile and foreign texts, damage, length; and every host, export, restoring, dark mode."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from attention_analyzer.record import AttentionRecord
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view.annotations import Annotations, HeadClusters, HeadLabel, TokenTrack
from attention_analyzer.view.content import payload
from attention_analyzer.view.program import viewer_source
from tests.browser.conftest import Opened
from tests.view.records import query_key_record

Pages = Callable[..., Path]

HOSTILE = [
    "<script>window.hit=1</script>", "</script><script>window.hit=1</script>", "<!--<script>window.hit=1</script>",
    "-->", "<!--", "]]>", "<![CDATA[", "<img src=x onerror=window.hit=1>", "<svg onload=window.hit=1>",
    "<iframe srcdoc='<script>top.hit=1</script>'>", "<body onload=window.hit=1>",
    "<input autofocus onfocus=window.hit=1>",
    "<details open ontoggle=window.hit=1>", "<math><mi//xlink:href='data:x,<script>window.hit=1</script>'>",
    "<style>*{display:none}</style>", "<link rel=stylesheet href=http://e.test/x.css>", "<base href=http://e.test/>",
    "<meta http-equiv=refresh content='0;url=http://e.test/'>", "<form action=http://e.test/><button>",
    "<object data=http://e.test/x>", "<embed src=http://e.test/x>", "<a href=javascript:window.hit=1>x</a>",
    "javascript:window.hit=1", "data:text/html,<script>window.hit=1</script>", "vbscript:msgbox(1)", "${window.hit=1}",
    "`${window.hit=1}`", "{{constructor.constructor('window.hit=1')()}}", "<%= window.hit=1 %>", "#{window.hit=1}",
    "{%import os%}", "'\"><script>window.hit=1</script>", '" onmouseover="window.hit=1', "' onfocus='window.hit=1",
    "\\u003cscript\\u003ewindow.hit=1", "&lt;script&gt;window.hit=1&lt;/script&gt;", "&#60;script&#62;", "%3Cscript%3E",
    "</title>", "</textarea><script>window.hit=1</script>", "</template>",
    "</noscript><img src=x onerror=window.hit=1>",
    "\u2028window.hit=1", "\u2029window.hit=1", "\x00", "\x1b[31m", "\ufeff", "\ud800", "\udfff\ud800",
    "\u202eevil", "\u200b",
    "__proto__", "constructor", "toString", "hasOwnProperty", "NaN", "null", "undefined", "", " ", "\n", "\t", "\r\n",
    "../../etc/passwd", "file:///path/passwd", "url(http://e.test/x)", "expression(window.hit=1)", "@import 'x'",
    "*/window.hit=1/*", "//window.hit=1", "\\", "'", '"', "`", "😀" * 300, "a" * 5000, "́" * 60,
]  # fmt: skip


def hostile_record() -> AttentionRecord:
    size = len(HOSTILE)
    random = torch.Generator().manual_seed(2)
    weights = torch.rand(1, size, size, generator=random)
    return AttentionRecord.from_weights(
        weights / weights.sum(-1, keepdim=True),
        Tokens.of_pieces(HOSTILE),
        model_name="<img src=x onerror=window.hit=1>",
    )


@pytest.fixture(scope="module")
def hostile_page(pages: Pages) -> Path:
    record = hostile_record()
    evil = "</script><img src=x onerror=window.hit=1>"
    notes = Annotations(
        tracks=[TokenTrack(evil, record.tokens, [1.0] * len(HOSTILE), evil)],
        labels=[HeadLabel("encoder.self.0", 0, evil, 0.5, 0.1)],
        clusters=[HeadClusters(evil, [evil])],
    )
    return pages("hostile", lambda: record, annotations=notes, title=evil, state={"view": evil, "site": evil})


def test_there_are_many_hostile_strings() -> None:
    assert len(set(HOSTILE)) >= 50


@pytest.mark.parametrize("view", ["heads", "matrix", "arcs", "text", "products", "space"])
def test_hostile_tokens_do_nothing(opened: Opened, hostile_page: Path, view: str) -> None:
    opened.go(hostile_page, {"view": view, "query": 3, "group": "pattern", "sort": "__proto__"})
    if view != "products":
        opened.drawn(view, "heads" if view == "heads" else "whole")
    box = opened.page.locator(".view").bounding_box()
    inside = "document.querySelector('.attention-viewer').shadowRoot"
    forbidden = f"{inside}.querySelectorAll('img, script, iframe, svg, form, style, link').length"
    # Along a diagonal every token is hovered; its tip must be text too.
    for step in range(60):
        share = 0.08 + 0.9 * step / 60
        opened.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * share)
        assert opened.page.evaluate(forbidden) == 0
    for token in opened.page.locator(".token").all()[:40]:
        token.dispatch_event("pointerover")
        assert opened.page.evaluate(forbidden) == 0
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("window.hit") is None
    assert opened.page.evaluate("document.querySelectorAll('img, iframe, form, object, embed').length") == 0
    if view == "text":
        shown = opened.page.evaluate(f"{inside}.querySelectorAll('.token').length")
        assert shown == len(HOSTILE)
        assert opened.page.locator(".token").nth(0).inner_text() == HOSTILE[0]


def test_exported_svg_of_hostile_tokens_is_well_formed(opened: Opened, hostile_page: Path) -> None:
    opened.go(hostile_page, {"view": "arcs", "threshold": 0.0}).drawn("arcs")
    tree = ET.fromstring(_export(opened, "SVG").read_bytes())
    assert {node.tag.split("}")[1] for node in tree.iter()} <= {
        "svg", "title", "rect", "line", "path", "text", "g", "clipPath", "circle", "image",
    }  # fmt: skip
    assert any("<img src=x" in (node.text or "") for node in tree.iter())


def _export(opened: Opened, kind: str) -> Path:
    opened.page.get_by_role("button", name="Export", exact=True).click()
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name=kind).click()
    return Path(download.value.path())


def test_export_is_the_screen_with_what_is_hidden(opened: Opened, pages: Pages) -> None:
    opened.go(pages("export", lambda: query_key_record(queries=11)), {"view": "matrix", "query": 4, "key": 2}).drawn(
        "matrix"
    )
    tree = ET.fromstring(_export(opened, "SVG").read_bytes())
    texts = [node.text for node in tree.iter() if node.text]
    assert {"t0", "t10", "L0H0"} <= set(texts)
    assert any("query “t4” (4)" in text for text in texts)
    opened.page.keyboard.press("Escape")
    image = _export(opened, "PNG").read_bytes()
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    box = opened.canvas()
    assert (width, height) == (2 * round(box["width"]), 2 * (round(box["height"]) + 26))


@pytest.mark.parametrize("view", ["heads", "text", "products", "space"])
def test_every_view_exports(opened: Opened, pages: Pages, view: str) -> None:
    opened.go(pages("export", lambda: query_key_record(queries=11)), {"view": view, "query": 4})
    opened.drawn(view, "heads" if view == "heads" else "whole")
    tree = ET.fromstring(_export(opened, "SVG").read_bytes())
    assert len(list(tree.iter())) > 10


def test_state_is_kept_in_the_address_and_restored(opened: Opened, pages: Pages) -> None:
    path = pages("export", lambda: query_key_record(queries=11))
    opened.go(path, {"view": "matrix"}).drawn("matrix")
    opened.set(view="arcs", head=1, query=7, threshold=0.1, scale="log")
    opened.page.wait_for_function("() => location.hash.includes('threshold')")
    kept = opened.state()
    opened.page.reload()
    opened.drawn("arcs")
    assert opened.state() == kept
    opened.page.get_by_role("button", name="State").click()
    opened.page.get_by_label("State as JSON").fill('{"view": "text", "head": 99, "query": -4, "nonsense": [1]}')
    opened.page.get_by_role("button", name="Apply").click()
    assert opened.state()["view"] == "text"
    assert "head" not in opened.state()
    opened.page.get_by_label("State as JSON").fill("{")
    opened.page.get_by_role("button", name="Apply").click()
    assert "not JSON" in opened.page.locator(".panel").inner_text()


def test_dark_mode_follows_the_system_and_the_reader(browser: Any, pages: Pages) -> None:
    path = pages("export", lambda: query_key_record(queries=11))
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator(".view canvas").wait_for()
    background = (
        "getComputedStyle(document.querySelector('.attention-viewer').shadowRoot.querySelector('.app')).backgroundColor"
    )
    assert page.evaluate(background) == "rgb(20, 24, 31)"
    page.get_by_role("button", name="Colors").click()
    page.get_by_label("page").select_option("light")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    context.close()


@pytest.mark.parametrize("width", [320, 620])
def test_small_windows_keep_their_content(opened: Opened, pages: Pages, width: int) -> None:
    opened.go(pages("export", lambda: query_key_record(queries=11)), {"view": "matrix"}).drawn("matrix")
    opened.page.set_viewport_size({"width": width, "height": 600})
    opened.until("root.querySelector('.view canvas').getBoundingClientRect().width <= given", width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.colors() > 10


def test_right_to_left_text_and_emoji(opened: Opened, pages: Pages) -> None:
    text = "שלום עולם 👩‍👩‍👧 مرحبا"
    spans = tuple((found.start(), found.end()) for found in re.finditer(r"\S+", text))
    tokens = Tokens(tuple(text[start:stop] for start, stop in spans), spans=spans, texts=(text,))
    size = len(tokens)
    path = pages("rtl", lambda: AttentionRecord.from_weights(torch.full((1, size, size), 1 / size), tokens))
    opened.go(path, {"view": "text", "query": 1}).drawn("text")
    paragraph = opened.page.locator(".text")
    assert paragraph.inner_text().replace("\u200b", "") == text
    assert (
        opened.page.evaluate(
            "getComputedStyle(document.querySelector('.attention-viewer').shadowRoot.querySelector('.text')).direction"
        )
        == "rtl"
    )
    first, last = (opened.page.locator(".token").nth(index).bounding_box() for index in (0, size - 1))
    assert first["x"] > last["x"]
    assert opened.page.locator(".token").nth(2).inner_text() == "👩‍👩‍👧"


def test_bytes_of_a_character_show_it_once(opened: Opened, pages: Pages) -> None:
    text = "של 😀"
    pieces = ("ש", "ש", "ל", " ", "😀", "😀")
    spans = ((0, 1), (0, 1), (1, 2), (2, 3), (3, 4), (3, 4))
    tokens = Tokens(pieces, spans=spans, texts=(text,))
    size = len(tokens)
    path = pages("bytes", lambda: AttentionRecord.from_weights(torch.full((1, size, size), 1 / size), tokens))
    opened.go(path, {"view": "text", "query": 1, "key": 0}).drawn("text")
    assert opened.page.locator(".text").inner_text().replace("\u200b", "") == "של␣😀"
    assert opened.page.locator(".token").nth(1).get_attribute("aria-label").startswith("ש (continued)")
    # The sentence at the foot keeps its order: the token is isolated from it.
    assert "query “\u2068ש\u2069” (1) · key “\u2068ש\u2069” (0)" in opened.foot()


def test_the_text_view_brings_the_chosen_token_into_sight(opened: Opened, pages: Pages) -> None:
    path = pages("long", lambda: query_key_record(queries=4001, layers=1, heads=2, channels=16))
    opened.go(path, {"view": "text", "query": 3000}).drawn("text")
    view, token = opened.page.locator(".view").bounding_box(), opened.page.locator(".token.chosen").bounding_box()
    assert view["y"] < token["y"] < view["y"] + view["height"]


def test_long_record_opens_and_answers(opened: Opened, pages: Pages) -> None:
    path = pages("long", lambda: query_key_record(queries=4001, layers=1, heads=2, channels=16))
    opened.go(path).drawn("heads", "heads")
    opened.set(view="matrix", head=1)
    opened.drawn("matrix", "coarse")
    opened.drawn("matrix")
    assert opened.colors() > 20
    exact = query_key_record(queries=4001, layers=1, heads=2, channels=16).weights(0, 1)[4000]
    shown = opened.page.evaluate(
        "document.getElementById('attention-view').viewer.weights({head: 1, rows: [4000, 4001]})"
        ".then((part) => [...part.values])"
    )
    assert shown == pytest.approx(exact.tolist(), rel=0.01, abs=1e-3)
    for view in ("arcs", "text", "space"):
        opened.set(view=view, query=2000)
        opened.drawn(view)


def test_payloads_of_earlier_releases_keep_opening(opened: Opened, pages: Pages, tmp_path: Path) -> None:
    """The page of today around the data of the first release; see tests/view/golden."""
    golden = Path(__file__).parents[1] / "view" / "golden"
    data = (golden / "payload-1.bin").read_bytes()
    start = 32 + struct.unpack_from("<I", data, 12)[0]
    blocks = json.loads(data[32:start])["blocks"]
    parts = {"head": data[:start]} | {
        f"block-{number}": data[start + block["offset"] :][: block["stored"]] for number, block in enumerate(blocks)
    }
    page = pages("export", lambda: query_key_record(queries=11)).read_text(encoding="utf-8")
    page = re.sub(r'<script type="application/octet-stream" id="attention-[^<]*</script>\n', "", page)
    stored = "".join(
        f'<script type="application/octet-stream" id="attention-{name}">{base64.b64encode(part).decode()}</script>'
        for name, part in parts.items()
    )
    target = tmp_path / "golden.html"
    target.write_text(page.replace('<script type="module">', f'{stored}<script type="module">', 1), encoding="utf-8")
    opened.go(target).drawn("matrix")
    with np.load(golden / "weights-1.npz") as weights:
        for site in weights.files:
            for head, exact in enumerate(weights[site]):
                shown = opened.page.evaluate(
                    "(part) => document.getElementById('attention-view').viewer.weights(part)"
                    ".then(({values}) => [...values])",
                    {"site": site, "head": head},
                )
                assert shown == pytest.approx(exact.ravel().tolist(), rel=0.01, abs=1e-3)
    opened.set(view="heads", group="pattern", sort="entropy")
    opened.drawn("heads", "heads")
    opened.set(view="text", shade="track:mine")
    opened.drawn("text")


def _damaged(path: Path, target: Path, change: Callable[[str], str]) -> Path:
    target.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    return target


def _head(page: str, change: Callable[[bytearray], bytes | bytearray]) -> str:
    found = re.search(r'id="attention-head">([^<]*)<', page)
    assert found is not None
    changed = change(bytearray(base64.b64decode(found[1])))
    return page.replace(found[1], base64.b64encode(changed).decode())


DAMAGES = {
    "future": (lambda page: _head(page, lambda head: head[:8] + struct.pack("<I", 7) + head[12:]), "format version 7"),
    "altered": (lambda page: _head(page, lambda head: head[:50] + bytes([head[50] ^ 1]) + head[51:]), "altered"),
    "cut header": (lambda page: _head(page, lambda head: head[:100]), "Truncated"),
    "foreign": (lambda page: _head(page, lambda head: b"GIF89a" + head[6:]), "Not an Attention Analyzer file"),
    "no record": (lambda page: _head(page, lambda head: _empty(bytes(head))), "no record"),
}


def _empty(head: bytes) -> bytes:
    text = b'{"records": [], "blocks": []}'
    return head[:12] + struct.pack("<IIIQ", len(text), zlib.crc32(text), 0, 32 + len(text)) + text


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_pages_say_what_is_wrong(opened: Opened, pages: Pages, tmp_path: Path, damage: str) -> None:
    change, message = DAMAGES[damage]
    opened.go(_damaged(pages("export", lambda: query_key_record(queries=11)), tmp_path / "damaged.html", change))
    alert = opened.page.get_by_role("alert")
    alert.wait_for()
    assert message in alert.inner_text()


@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_damaged_blocks_say_what_is_wrong(opened: Opened, pages: Pages, tmp_path: Path, damage: str) -> None:
    def change(page: str) -> str:
        found = re.search(r'id="attention-block-0">([^<]*)<', page)
        assert found is not None
        text = found[1]
        flipped = "A" if text[40] != "A" else "B"
        new = {"cut": text[:80], "altered": text[:40] + flipped + text[41:], "gone": ""}[damage]
        return page.replace(text, new)

    opened.go(_damaged(pages("export", lambda: query_key_record(queries=11)), tmp_path / "damaged.html", change))
    opened.until("root.textContent.includes('damaged')")


def test_notebook_host_sends_state_and_selection(opened: Opened, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "viewer.js").write_text(viewer_source(), encoding="utf-8")
    (folder / "payload.bin").write_bytes(payload(query_key_record(queries=11)))
    (folder / "other.bin").write_bytes(payload(query_key_record(queries=5)))
    (folder / "index.html").write_text(
        """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="place"></div>
        <script type="module">
        import make from "./viewer.js";
        const read = async (name) => new DataView(await (await fetch(name)).arrayBuffer());
        const listeners = {};
        const values = { payload: await read("payload.bin"), state: { view: "matrix" }, height: 500, selection: {} };
        window.model = {
          get: (name) => values[name], set: (name, value) => (values[name] = value), save_changes: () => {},
          on: (name, f) => (listeners[name] = f), off: (name) => delete listeners[name],
          change: async (name, value) => { values[name] = value; listeners[`change:${name}`](); },
          read, values, listeners,
        };
        window.close_it = make().render({ model: window.model, el: document.getElementById("place") });
        window.ready = true;
        </script>""",
        encoding="utf-8",
    )
    page = opened.page
    page.goto(f"{address}/index.html")
    page.wait_for_function("window.ready && window.model.values.selection.view === 'matrix'")
    page.locator(".view canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("]")
    page.wait_for_function("window.model.values.selection.head === 1 && window.model.values.state.query === 0")
    page.evaluate("window.model.change('state', {view: 'arcs', head: 0, query: 3})")
    page.wait_for_function("window.model.values.selection.query_text === 't3'")
    page.evaluate("window.model.read('other.bin').then((data) => window.model.change('payload', data))")
    page.wait_for_function(
        "document.querySelector('.attention-viewer').shadowRoot.querySelectorAll('.app').length === 1"
    )
    page.evaluate("window.close_it()")
    assert (
        page.evaluate("document.querySelectorAll('.attention-viewer').length + Object.keys(model.listeners).length")
        == 0
    )


APP = """
import streamlit as st
from attention_analyzer.dashboard.viewer_component import attention_view
from tests.view.records import query_key_record

@st.cache_resource
def record(size):
    return query_key_record(queries=size)

size = st.selectbox("size", [11, 5])
chosen = attention_view(record(size), key="view", height=500, state={"view": "matrix"},
                        on_select=lambda s: st.session_state.update(told=s["head"]))
st.text(f"chosen {chosen.get('query_text')} head {chosen.get('head')} told {st.session_state.get('told')}")
"""


@pytest.fixture
def streamlit_app(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("streamlit")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "viewer_app.py"
    script.write_text(APP, encoding="utf-8")
    command = [
        sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port), "--server.headless", "true",
        "--server.address", "127.0.0.1", "--server.fileWatcherType", "none",
    ]  # fmt: skip
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": root}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(150):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.2)
        yield address
        server.terminate()


def test_streamlit_host_keeps_its_view_and_returns_the_selection(browser: Any, streamlit_app: str) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.goto(streamlit_app)
    page.locator(".view canvas").wait_for(timeout=60_000)
    page.locator(".view canvas").focus()
    page.keyboard.press("]")
    page.get_by_text("told 1").wait_for()
    page.locator(".view canvas").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_text("chosen t0 head 1 told 1").wait_for()
    page.get_by_role("combobox", name="size").click()
    page.get_by_role("option", name="5").click()
    page.get_by_label(re.compile("5 queries by 5 keys")).wait_for()
    assert page.locator(".attention-viewer").count() == 1
    assert page.locator(".now").inner_text().startswith("L0H1")
    assert page.locator(".attention-viewer").bounding_box()["height"] == pytest.approx(500, abs=20)
    context.close()
