"""The Parts view in a browser: its map, the folded text, and the colors of opened tokens, against the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attention_analyzer.captured import SiteRecord
from attention_analyzer.parts import between
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import Site
from tests.browser.conftest import Opened
from tests.view.records import query_key_record, query_key_weights
from tests.view.test_parts_view import parts_record

Pages = Callable[..., Path]


def causal_record() -> AttentionRecord:
    tokens = parts_record().tokens
    entries = []
    for layer in range(2):
        weights = query_key_weights(heads=3, queries=16, keys=16, channels=4, causal=True, seed=layer)
        entries.append(SiteRecord(Site("decoder", "self", layer, 3), weights, tokens, tokens))
    return AttentionRecord(tuple(entries), model_name="random")


def shown_row(opened: Opened) -> list[float]:
    texts = opened.page.eval_on_selector_all(".part .value", "(all) => all.map((one) => one.textContent)")
    return [float(text.replace("−", "-").replace("<", "")) for text in texts]


@pytest.mark.parametrize("values", ["weight", "above_chance"])
def test_rows_show_the_weight_of_the_chosen_part_on_each(opened: Opened, pages: Pages, values: str) -> None:
    record = causal_record()
    state = {"view": "parts", "level": "sentence", "values": values, "site": "decoder.self.1", "head": 2, "query": 11}
    opened.go(pages("parts", lambda: record), state).drawn("parts")
    opened.drawn("parts", "text")
    found = between(record, record.parts("sentence"))
    number = found.heads.index((record.sites[1], 2))
    expected = found.weights[number] - (found.by_size[number] if values == "above_chance" else 0)
    row = record.parts("sentence").owners[11]
    np.testing.assert_allclose(shown_row(opened), expected[row], atol=2e-3)
    assert opened.page.locator(".part-head[aria-expanded=true]").count() == 1
    assert not opened.problems


def test_a_click_opens_a_part_and_its_tokens_name_their_source(opened: Opened, pages: Pages) -> None:
    record = causal_record()
    opened.go(pages("parts", lambda: record), {"view": "parts", "level": "sentence"}).drawn("parts", "text")
    parts = record.parts("sentence")
    last = len(parts) - 1
    # Without a choice the last part attends, and is open.
    assert opened.page.locator(".part.chosen .part-name").inner_text() == parts.names[last]
    opened.page.locator(".part-head").nth(2).click()
    opened.until("root.querySelectorAll('.part-head[aria-expanded=true]').length === 2")
    assert opened.state()["query"] == parts.borders[2] and opened.state()["open"] == [2, last]
    opened.until("root.querySelector('[data-token=\"10\"]')?.dataset.source !== undefined")
    members = np.eye(len(parts))[list(parts.owners)]
    above = record.weights(0, 0).double().numpy() @ members
    sizes = np.array([[parts.owners[: i + 1].count(part) / (i + 1) for part in range(len(parts))] for i in range(16)])
    for token in range(parts.borders[2], parts.borders[3]):
        row = above[token] - sizes[token]
        row[2] = -1
        best = parts.names[int(row.argmax())] if row.max() > 0 else ""
        assert opened.page.locator(f'[data-token="{token}"]').get_attribute("data-source") == best
    # Choosing one of its tokens is the choice of all views.
    opened.page.locator(f'[data-token="{parts.borders[2] + 1}"]').click()
    opened.page.wait_for_function("(token) => window.selection?.query === token", arg=parts.borders[2] + 1)
    opened.page.locator(".part-head").nth(2).click()
    opened.until("root.querySelectorAll('.part-head[aria-expanded=true]').length === 1")
    assert not opened.problems


def test_the_band_chooses_the_attended_part_and_levels_change(opened: Opened, pages: Pages) -> None:
    record = causal_record()
    opened.go(pages("parts", lambda: record), {"view": "parts", "level": "sentence"}).drawn("parts", "text")
    opened.page.locator(".band span").nth(0).click()
    opened.until("root.querySelector('.part.chosen-key') !== null")
    assert opened.state()["key"] == 0
    opened.page.locator("select[aria-label=parts]").select_option("paragraph")
    opened.until("root.querySelectorAll('.part').length === 2")
    assert opened.state()["level"] == "paragraph"
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Export").click()
        opened.page.get_by_role("button", name="SVG, sharp at any size").click()
    drawn = Path(download.value.path()).read_text(encoding="utf-8")
    assert "paragraph 1" in drawn and "attends to" in drawn
    assert not opened.problems


def test_a_text_without_parts_has_no_such_tab(opened: Opened, pages: Pages) -> None:
    opened.go(pages("no-parts", lambda: query_key_record(queries=5)), {"view": "parts"}).drawn("heads", "heads")
    assert opened.page.get_by_role("tab", name="Parts").count() == 0
