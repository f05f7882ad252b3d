"""Screenshots of every page of the dashboard (light, dark, phone): ``python tools/dashboard_screens.py FOLDER``."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Page, sync_playwright

from attention_analyzer.dashboard.navigation import PAGES
from benchmarks.streamlit_session import server

#: Width, height, color scheme.
SCREENS: dict[str, tuple[int, int, Literal["light", "dark"]]] = {
    "light": (1366, 768, "light"),
    "dark": (1366, 768, "dark"),
    "phone": (390, 844, "light"),
}
PATIENCE = 180_000
#: Buttons that start an analysis.
START = ("Measure",)


def shoot(folder: Path, pages: list[str], screens: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with server(OMP_NUM_THREADS="1", ATTENTION_ANALYZER_KERNEL="off") as address, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for screen in screens:
            width, height, scheme = SCREENS[screen]
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            for entry in PAGES:
                if pages and entry.name not in pages:
                    continue
                state: dict[str, Any] = dict(entry.examples[-1][1]) if entry.examples else {}
                page.goto(f"http://{address}/{'' if entry is PAGES[0] else entry.name}?{urlencode(state, doseq=True)}")
                settle(page)
                for name in START:
                    if (button := page.get_by_role("button", name=name, exact=True)).count():
                        button.first.click()
                        settle(page)
                page.screenshot(path=folder / f"{entry.name}-{screen}.png")
                tall = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
                page.set_viewport_size({"width": width, "height": min(max(tall, height), 4000)})
                page.wait_for_timeout(600)
                page.screenshot(path=folder / f"{entry.name}-{screen}-whole.png")
                page.set_viewport_size({"width": width, "height": height})
                print(f"{entry.name} {screen}: {tall} px", flush=True)
        browser.close()


def settle(page: Page) -> None:
    """Wait until the server has nothing more to say, and no progress bar is left."""
    done = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    for _ in range(3):
        page.wait_for_timeout(500)
        done.wait_for(timeout=PATIENCE)
    page.locator("[data-testid=stProgress]").wait_for(state="detached", timeout=PATIENCE)
    page.wait_for_timeout(700)
    done.wait_for(timeout=PATIENCE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", action="append", default=[], help="Only this page; repeatable.")
    parser.add_argument("--screen", action="append", default=[], choices=list(SCREENS))
    given = parser.parse_args()
    shoot(given.folder, given.page, given.screen or list(SCREENS))
