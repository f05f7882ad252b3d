"""The viewer's sizes and times, in Chromium: ``python -m benchmarks.viewer``; writes the table of docs/viewer.md.

Records have 6 layers of 12 heads with random queries and keys, which is the hardest text to store: nothing repeats.
Every time is the fastest of several, from the event to the finished picture, frames included.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from attention_analyzer.captured import SiteRecord
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from benchmarks.sections import write_section

LAYERS, HEADS = 6, 12
#: Tokens and channels a head.
CASES = ((128, 32), (512, 32), (512, 64), (2048, 32), (2048, 64), (4096, 32))
REPEATS = 5

SETUP = """
window.drawn = [];
document.addEventListener("attention:drawn", (event) => window.drawn.push(event.detail));
window.blocked = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.blocked = Math.max(window.blocked, entry.duration);
}).observe({ type: "longtask", buffered: true });
"""
#: Set a state, and wait for what it brings; milliseconds to the coarse picture and to the whole one.
CHOOSE = """async (state) => {
  const viewer = document.getElementById("attention-view").viewer;
  window.drawn.length = 0;
  window.blocked = 0;
  const start = performance.now();
  viewer.restore(state);
  const found = {};
  while (!("whole" in found) && performance.now() - start < 30000) {
    await new Promise((done) => setTimeout(done, 1));
    for (const { what, at } of window.drawn) found[what] ??= at - start;
  }
  await new Promise((done) => requestAnimationFrame(done));
  return { coarse: found.coarse ?? found.whole, whole: found.whole, blocked: window.blocked };
}"""
#: Choose a query and a key, and wait until their exact weight stands at the foot.
WEIGHT = """async ([state, query, key]) => {
  const viewer = document.getElementById("attention-view").viewer;
  const root = document.querySelector(".attention-viewer").shadowRoot;
  const start = performance.now();
  viewer.restore({ ...state, query, key });
  while (!root.querySelector(".now").textContent.includes("weight")) await new Promise((done) => setTimeout(done, 0));
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - start;
}"""
#: Move the pointer over the matrix and wait until its exact value is told.
HOVER = """async ([x, y]) => {
  const root = document.querySelector(".attention-viewer").shadowRoot;
  const canvas = root.querySelector(".view canvas");
  const box = canvas.getBoundingClientRect();
  const start = performance.now();
  const place = { clientX: box.left + x, clientY: box.top + y, bubbles: true, composed: true };
  canvas.dispatchEvent(new PointerEvent("pointermove", place));
  const tip = root.querySelector(".tip");
  while (tip.hidden || tip.textContent.includes("…") || !tip.textContent.includes("→")) {
    if (performance.now() - start > 5000) return null;
    await new Promise((done) => setTimeout(done, 0));
  }
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - start;
}"""


def record_of(tokens: int, channels: int) -> AttentionRecord:
    random = torch.Generator().manual_seed(0)
    names = Tokens.of_pieces([f"token{index}" for index in range(tokens)])

    def site(layer: int) -> SiteRecord:
        query, key = (torch.randn(1, HEADS, tokens, channels, generator=random) for _ in range(2))
        weights = QueryKeyWeights(ScoreSource(query, key, 2 / channels**0.5, Visibility(tokens, tokens)))
        return SiteRecord(Site("encoder", "self", layer, HEADS), weights, names, names)

    return AttentionRecord(tuple(site(layer) for layer in range(LAYERS)), model_name="random")


def measure(browser: Any, folder: Path, tokens: int, channels: int) -> dict[str, float]:
    record = record_of(tokens, channels)
    path = folder / f"{tokens}-{channels}.html"
    started = time.perf_counter()
    record.to_html(path)
    found = {"write": time.perf_counter() - started, "size": path.stat().st_size / 1e6}
    first = []
    for _ in range(3):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.add_init_script(SETUP)
        page.goto(path.as_uri())
        page.wait_for_function("() => window.drawn.some((d) => d.what === 'heads')", timeout=60_000)
        first.append(page.evaluate("window.drawn.find((d) => d.what === 'heads').at"))
        if len(first) < 3:
            context.close()
    found["first"] = min(first)
    heads = [
        page.evaluate(CHOOSE, {"view": "matrix", "site": "encoder.self.2", "head": head}) for head in range(REPEATS + 1)
    ]
    # The first question also sends the site to the worker; a head of another layer pays that again.
    found["layer"] = heads[0]["whole"]
    for name in ("coarse", "whole", "blocked"):
        found[name] = min(head[name] for head in heads[1:])
    state = {"view": "matrix", "site": "encoder.self.2", "head": REPEATS}
    found["weight"] = min(page.evaluate(WEIGHT, [state, 5 + step, 9 + step]) for step in range(REPEATS))
    page.wait_for_timeout(2500)
    hovers = [page.evaluate(HOVER, [300 + 7 * step, 250 + 5 * step]) for step in range(REPEATS)]
    found["hover"] = min(hover for hover in hovers if hover is not None)
    context.close()
    print(json.dumps({"tokens": tokens, "channels": channels} | {k: round(v, 2) for k, v in found.items()}), flush=True)
    return found


def table(results: dict[tuple[int, int], dict[str, float]]) -> str:
    titles = ("Tokens × channels", "File", "Written in", "First picture", "Hover", "Choose a token")
    titles += ("Choose a head: coarse", "all of it", "Longest block of the page")
    lines = ["| " + " | ".join(titles) + " |", "| --- " + "| ---: " * 8 + "|"]
    for (tokens, channels), found in results.items():
        # Chromium reports blocks from 50 ms on.
        blocked = f"{found['blocked']:.0f} ms" if found["blocked"] else "< 50 ms"
        cells = [
            f"{tokens:,} × {channels}", f"{found['size']:.1f} MB", f"{found['write']:.2f} s",
            f"{found['first']:.0f} ms",
            f"{found['hover']:.0f} ms", f"{found['weight']:.0f} ms", f"{found['coarse']:.0f} ms",
            f"{found['whole']:.0f} ms", blocked,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        results = {case: measure(browser, Path(folder), *case) for case in CASES}
        browser.close()
    shown = table(results)
    print(shown)
    write_section("docs/viewer.md", "viewer-bench", shown)


if __name__ == "__main__":
    main()
