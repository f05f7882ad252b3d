"""Every view draws, follows the others, and shows the numbers of the record."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_analyzer.captured import SiteRecord
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.bias import RelativeBias
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from tests.browser.conftest import Opened
from tests.view.records import query_key_record, translation_record

Pages = Callable[..., Path]


def words_record() -> AttentionRecord:
    """Weights with a special token that is a sink, and a word of two pieces."""
    text = "the cats sat unbelievably still"
    tokens = Tokens(
        pieces=("[CLS]", "the", "cats", "sat", "un", "believably", "still"),
        spans=(None, (0, 3), (4, 8), (9, 12), (13, 15), (15, 25), (26, 31)),
        is_special=(True, False, False, False, False, False, False),
        texts=(text,),
    )
    random = torch.Generator().manual_seed(1)
    weights = torch.rand(2, 3, 7, 7, generator=random)
    weights[:, :, :, 0] += 4
    return AttentionRecord.from_weights(list(weights / weights.sum(-1, keepdim=True)), tokens, model_name="given")


def test_heads_open_first_and_choosing_one_reaches_every_view(opened: Opened, pages: Pages) -> None:
    opened.go(pages("scores", lambda: query_key_record(queries=17, layers=3, heads=5))).drawn("heads", "heads")
    assert opened.colors() > 20
    box = opened.canvas()
    opened.page.mouse.click(box["x"] + 90, box["y"] + 110)
    assert opened.foot().startswith("L0H0")
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("ArrowRight")
    assert opened.foot().startswith("L1H1")
    opened.page.keyboard.press("Enter")
    opened.drawn("matrix")
    assert opened.state()["view"] == "matrix"
    for name, view in (("Arcs", "arcs"), ("Text", "text"), ("Query–key", "products")):
        opened.page.get_by_role("tab", name=name).click()
        opened.page.wait_for_function("() => window.selection?.layer === 1 && window.selection.head === 1")
        assert opened.state()["view"] == view
        assert opened.foot().startswith("L1H1")


def test_matrix_shows_exact_weights_zooms_and_pans(opened: Opened, pages: Pages) -> None:
    record = query_key_record(queries=17, layers=3, heads=5)
    opened.go(pages("scores", lambda: record), {"view": "matrix", "head": 2}).drawn("matrix")
    opened.set(view="matrix", head=2, query=9, key=4)
    opened.until("root.textContent.includes('weight 0')")
    shown = float(opened.foot().split("weight ")[1].split()[0])
    assert shown == pytest.approx(float(record.weights(0, 2)[9, 4]), abs=1e-3)
    box = opened.canvas()
    opened.page.mouse.move(box["x"] + box["width"] / 2 - 60, box["y"] + box["height"] / 2)
    opened.until("root.querySelector('.tip').textContent.includes('→')")
    opened.page.get_by_role("button", name="Zoom in").click()
    first = opened.state()["zoom"]
    assert first[1] - first[0] < 17
    opened.page.mouse.move(box["x"] + 250, box["y"] + 250)
    opened.page.mouse.wheel(0, 120)
    opened.page.wait_for_function(
        "(z) => JSON.stringify(document.getElementById('attention-view').viewer.state().zoom) !== z",
        arg=str(first).replace(" ", ""),
    )
    opened.page.get_by_role("button", name="Show everything").click()
    assert "zoom" not in opened.state()


def test_arcs_pin_with_mouse_and_keyboard_and_compare_heads(opened: Opened, pages: Pages) -> None:
    opened.go(pages("scores", lambda: query_key_record(queries=17, layers=3, heads=5)), {"view": "arcs"}).drawn("arcs")
    hues = _hues(opened)
    box = opened.canvas()
    opened.page.keyboard.down("Shift")
    opened.page.mouse.click(box["x"] + 180, box["y"] + 58 + 20 * 5 + 10)
    opened.page.keyboard.up("Shift")
    assert opened.state()["pins"] == [5]
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("p")
    assert opened.state()["pins"] == [5, 0]
    assert "2 pinned" in opened.foot()
    opened.page.keyboard.press("Escape")
    assert "pins" not in opened.state()
    drawings = opened.page.evaluate("window.drawn.length")
    opened.set(heads=[["decoder.self.1", 3]])
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    opened.page.wait_for_function("(before) => window.drawn.length > before", arg=drawings)
    opened.settle()
    assert _hues(opened) > hues


def test_sentence_filter_is_offered_for_pairs_only(opened: Opened, pages: Pages) -> None:
    pieces = ("a", "b", "c", "d")
    tokens = Tokens(pieces=pieces, segments=(0, 0, 1, 1))
    path = pages("pair", lambda: AttentionRecord.from_weights(torch.full((1, 4, 4), 0.25), tokens))
    opened.go(path, {"view": "arcs"}).drawn("arcs")
    opened.page.get_by_label("sentences").select_option("0>1")
    assert opened.state()["segments"] == "0>1"


def test_text_shades_by_the_chosen_token_and_back(opened: Opened, pages: Pages) -> None:
    opened.go(pages("words", words_record), {"view": "text"})
    tokens = opened.page.locator(".token")
    tokens.nth(3).click()
    assert opened.state()["query"] == 3
    opened.until("[...root.querySelectorAll('.token')].filter((token) => token.dataset.value).length === 7")
    shades = [tokens.nth(index).get_attribute("data-value") for index in range(7)]
    exact = words_record().weights(0, 0)[3]
    assert [float(shade) for shade in shades] == pytest.approx(exact.tolist(), abs=1e-3)
    opened.page.get_by_role("button", name="attended to by").click()
    opened.page.get_by_role("button", name="received").click()
    assert opened.state()["shade"] == "received"


def test_products_explain_a_weight(opened: Opened, pages: Pages) -> None:
    record = query_key_record(queries=17, layers=3, heads=5)
    opened.go(pages("scores", lambda: record), {"view": "products", "head": 1, "query": 6}).drawn("products")
    parts = opened.page.evaluate(
        "document.getElementById('attention-view').viewer.products('decoder.self.0', 1, 6, [0, 5]).then((p) => "
        "({scores: [...p.scores], keys: [...p.keys], query: [...p.query]}))"
    )
    source = record.entries[0].weights.source
    exact = source.scaling * source.query[0, 1, 6] @ source.key[0, 1, [0, 5]].T
    assert parts["scores"] == pytest.approx(exact.tolist(), abs=5e-3)
    assert parts["keys"][:8] == pytest.approx(source.key[0, 1, 0].tolist(), abs=2e-3)
    opened.set(view="products", query=None)
    assert "Choose a query" in str(opened.page.locator(".view canvas").get_attribute("aria-label"))


def test_space_opens_turns_and_only_then_loads_its_library(opened: Opened, pages: Pages) -> None:
    opened.go(pages("scores", lambda: query_key_record(queries=17, layers=3, heads=5))).drawn("heads", "heads")
    assert not [url for url in opened.requests if url.startswith("blob:") and "worker" not in url][1:]
    opened.set(view="space", query=3)
    opened.drawn("space")
    assert opened.colors(".scene") > 10
    assert opened.colors(".scene-labels") > 10
    canvas = opened.page.locator(".scene")
    before = canvas.screenshot()
    canvas.focus()
    opened.page.keyboard.press("ArrowLeft")
    opened.settle()
    assert canvas.screenshot() != before


def test_difference_is_second_minus_first(opened: Opened, pages: Pages) -> None:
    one = AttentionRecord.from_weights(torch.tensor([[[1.0, 0], [0.5, 0.5]]]), ["a", "b"])
    two = AttentionRecord.from_weights(torch.tensor([[[1.0, 0], [0.25, 0.75]]]), ["a", "b"])
    opened.go(pages("difference", lambda: one, two), {"view": "difference"}).drawn("difference")
    box = opened.canvas()
    found = set()
    for x in range(70, 260, 12):
        for y in range(80, 220, 12):
            opened.page.mouse.move(box["x"] + x, box["y"] + y)
            tip = opened.page.locator(".tip")
            if tip.is_visible():
                found.add(tip.inner_text().split("\n")[1])
    assert {"0", "−0.250", "0.250"} <= found


def test_difference_at_the_foot_is_a_difference(opened: Opened, pages: Pages) -> None:
    one = AttentionRecord.from_weights(torch.tensor([[[1.0, 0], [0.5, 0.5]]]), ["a", "b"])
    two = AttentionRecord.from_weights(torch.tensor([[[1.0, 0], [0.25, 0.75]]]), ["a", "b"])
    opened.go(pages("difference", lambda: one, two), {"view": "difference", "query": 1, "key": 0}).drawn("difference")
    opened.until("root.querySelector('.now').textContent.includes('second − first')")
    assert "second − first −0.250" in opened.foot()


def planted_record() -> AttentionRecord:
    """Heads that look at the token before, at the first token, and anywhere, in two layers."""
    size = 40
    previous = torch.eye(size)[[0, *range(size - 1)]]
    first = torch.eye(size)[[0] * size]
    spread = torch.softmax(2 * torch.randn(size, size, generator=torch.Generator().manual_seed(3)), -1)
    layers = [torch.stack([first, previous]), torch.stack([previous, spread])]
    return AttentionRecord.from_weights(layers, [f"t{index}" for index in range(size)], causal=False)


def test_heads_are_sorted_and_grouped(opened: Opened, pages: Pages) -> None:
    opened.go(pages("planted", planted_record)).drawn("heads", "heads")
    groups = opened.page.get_by_label("group by")
    assert groups.locator("option").all_inner_texts() == [
        "stack", "layer", "pattern, in this text", "alike in this text",
    ]  # fmt: skip
    # Left to right the arrow key goes through the heads in the order that is shown.
    orders = {
        ("pattern:previous_token", "layer"): ["L0H1", "L1H0", "L0H0", "L1H1"],
        ("first_weight", "site"): ["L0H0", "L0H1", "L1H0", "L1H1"],
        ("layer", "pattern"): ["L0H1", "L1H0", "L0H0", "L1H1"],
        ("layer", "cluster:alike in this text"): ["L0H1", "L1H0", "L0H0", "L1H1"],
        ("first_weight", "quarters"): ["L0H0", "L0H1", "L1H0", "L1H1"],
    }
    for (sort, group), order in orders.items():
        layer, head = int(order[0][1]), int(order[0][3])
        opened.set(view="heads", sort=sort, group=group, site=f"encoder.self.{layer}", head=head)
        opened.page.locator(".view canvas").focus()
        found = [opened.foot().split()[0]]
        for _ in range(3):
            opened.page.keyboard.press("ArrowRight")
            found.append(opened.foot().split()[0])
            opened.settle()
        assert found == order, (sort, group)


def test_keys_are_pinned_and_directions_filtered(opened: Opened, pages: Pages) -> None:
    opened.go(pages("planted", planted_record), {"view": "arcs", "head": 1}).drawn("arcs")
    opened.page.locator(".view canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "p"):
        opened.page.keyboard.press(key)
    assert opened.state()["keyPins"] == [2]
    assert opened.state()["key"] == 2
    for direction, some in (("earlier", True), ("later", False), ("all", True), ("itself", False)):
        opened.page.get_by_label("direction").select_option(direction)
        opened.until(LINKS_ARE_DRAWN, some)
    opened.page.keyboard.press("Escape")
    assert "keyPins" not in opened.state()


#: Whether some pixels between the two columns are not background.
LINKS_ARE_DRAWN = """(() => {
  const canvas = root.querySelector('.view canvas');
  const { width, height } = canvas;
  const data = canvas.getContext('2d').getImageData(width / 2 - 20, 90, 40, height - 100).data;
  return data.some((value, index) => index % 4 === 3 && value > 0) === given;
})()"""


def test_difference_is_not_offered_for_one_record(opened: Opened, pages: Pages) -> None:
    opened.go(pages("words", words_record), {"view": "difference"}).drawn("heads", "heads")
    assert opened.page.get_by_role("tab", name="Difference").count() == 0


def test_hiding_says_what_is_hidden_and_renormalises_on_request(opened: Opened, pages: Pages) -> None:
    opened.go(pages("words", words_record), {"view": "matrix", "hideSpecial": True}).drawn("matrix")
    assert "Hidden: 1 special token" in opened.foot()
    assert "weights not renormalized" in opened.foot()
    rows = _weights(opened, {"view": "matrix", "hideSpecial": True})
    exact = words_record().weights(0, 0)[1:, 1:].numpy()
    assert np.allclose(rows, exact, atol=1e-3)
    opened.page.get_by_label("renormalize").check()
    assert "the rest renormalized" in opened.foot()
    rows = _weights(opened, {"view": "matrix", "hideSpecial": True, "renormalise": True})
    assert np.allclose(rows, exact / exact.sum(-1, keepdims=True), atol=1e-3)
    opened.page.get_by_label("hide special").uncheck()
    opened.page.get_by_label("hide sinks").check()
    assert "1 sink among the keys (“[CLS]”)" in opened.foot()


def test_words_join_pieces(opened: Opened, pages: Pages) -> None:
    opened.go(pages("words", words_record), {"view": "matrix", "units": "words"}).drawn("matrix")
    shown = _weights(opened, {"view": "matrix", "units": "words"})
    exact = words_record().weights(0, 0).numpy()
    columns = np.concatenate([exact[:, :4], exact[:, 4:6].sum(-1, keepdims=True), exact[:, 6:]], -1)
    rows = np.concatenate([columns[:4], columns[4:6].mean(0, keepdims=True), columns[6:]])
    assert np.allclose(shown, rows, atol=1e-3)


def test_cross_attention_has_source_and_target(opened: Opened, pages: Pages) -> None:
    record = translation_record()
    opened.go(pages("translation", lambda: record), {"view": "arcs", "site": "decoder.cross.1"}).drawn("arcs")
    assert "decoder cross-attention" in opened.foot()
    shown = _weights(opened, {"site": "decoder.cross.1", "head": 1})
    assert shown.shape == (5, 7)
    assert np.allclose(shown, record.weights(1, 1, stack="decoder", kind="cross").numpy(), atol=1e-3)
    opened.page.get_by_label("attention", exact=True).select_option("encoder self")
    assert opened.state().get("site", "encoder.self.0") == "encoder.self.0"
    opened.set(view="text", site="decoder.cross.0", query=2, shade="from")
    opened.drawn("text")
    assert "source" in opened.page.locator(".texts").inner_text()


def test_keyboard_alone_reaches_everything(opened: Opened, pages: Pages) -> None:
    opened.go(pages("words", words_record)).drawn("heads", "heads")
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("2")
    opened.drawn("matrix")
    opened.page.locator(".view canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "l", "]", "}"):
        opened.page.keyboard.press(key)
    state = opened.state()
    assert (state["query"], state["key"]) == (1, 1)
    assert (state["scale"], state["head"], state["site"]) == ("log", 1, "encoder.self.1")
    opened.page.keyboard.press("t")
    assert opened.state()["theme"] == "dark"
    opened.page.get_by_role("tab", name="Matrix").focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.state()["view"] == "arcs"


def _hues(opened: Opened) -> int:
    """How many of the colors of compared heads stand in the legend."""
    return int(
        opened.page.evaluate(
            """() => {
              const root = document.querySelector('.attention-viewer').shadowRoot;
              const data = root.querySelector('.view canvas').getContext('2d').getImageData(0, 0, 300, 26).data;
              const seen = new Set();
              for (let i = 0; i < data.length; i += 4) {
                const [r, g, b] = data.subarray(i, i + 3);
                if (Math.max(r, g, b) - Math.min(r, g, b) > 120) seen.add(`${r},${g},${b}`);
              }
              return seen.size;
            }"""
        )
    )


def _weights(opened: Opened, state: dict[str, Any]) -> np.ndarray:
    found = opened.page.evaluate(
        "(state) => document.getElementById('attention-view').viewer.weights({state, head: state.head ?? 0, "
        "site: state.site}).then(({values, rows, cols}) => ({values: [...values], rows, cols}))",
        state,
    )
    return np.array(found["values"]).reshape(found["rows"], found["cols"])


def hard_record() -> AttentionRecord:
    """Every ingredient of the formula: groups of heads, softcap, bias, sinks, windows, padding, segments, masks."""
    random = torch.Generator().manual_seed(11)
    size, keys = 37, 41

    def weights(heads: int, seen: Visibility, **more: Any) -> QueryKeyWeights:
        q = torch.randn(1, heads, size, 5, generator=random)
        k = torch.randn(1, more.pop("key_heads", heads), seen.keys, 5, generator=random) * 2 + 3
        return QueryKeyWeights(ScoreSource(q, k, 0.6, seen, **more))

    seen_keys = torch.rand(1, keys, generator=random) > 0.3
    seen_keys[:, 0] = True
    parts = [torch.arange(count)[None] // 10 for count in (size, keys)]
    mask = torch.rand(1, 3, size, keys, generator=random) > 0.4
    mask[..., 0] = True
    bias = RelativeBias(torch.randn(3, size + keys - 1, generator=random), origin=size - 1, queries=size, keys=keys)
    cases = [
        weights(6, Visibility(size, keys), key_heads=2),
        weights(3, Visibility(size, keys, lower=-4, upper=2), softcap=2.5),
        weights(3, Visibility(size, keys, upper=4), sinks=torch.tensor([0.5, -1.0, 2.0])),
        weights(3, Visibility(size, keys, key_seen=seen_keys)),
        weights(3, Visibility(size, keys, segments=(parts[0], parts[1]))),
        weights(3, Visibility(size, keys, mask=mask)),
        weights(3, Visibility(size, keys), bias=bias),
    ]
    queries = Tokens.of_pieces([f"q{i}" for i in range(size)])
    others = Tokens.of_pieces([f"k{i}" for i in range(keys)])
    entries = [
        SiteRecord(Site("decoder", "cross", layer, case.heads), case, queries, others)
        for layer, case in enumerate(cases)
    ]
    return AttentionRecord(tuple(entries))


@pytest.mark.parametrize("form", [True, False])
def test_shown_weights_are_within_a_percent_or_a_thousandth(opened: Opened, pages: Pages, form: bool) -> None:
    record = hard_record()
    if form:
        path = pages("hard-scores", lambda: record, queries_and_keys=True)
    else:
        dense = [entry.weights[:].numpy() for entry in record.entries]
        record = AttentionRecord.from_weights(
            [np.repeat(array, 20, axis=0) for array in dense],
            record.entries[0].queries,
            key_tokens=record.entries[0].keys,
            partial_rows=True,
        )
        path = pages("hard-codes", lambda: record)
    opened.go(path, {"view": "matrix"}).drawn("matrix")
    worst = 0.0
    for entry in record.entries:
        for head in range(0, entry.site.heads, max(1, entry.site.heads // 3)):
            shown = _weights(opened, {"site": entry.site.name, "head": head})
            exact = entry.weights[head].numpy()
            worst = max(worst, float((np.abs(shown - exact) / np.maximum(0.01 * exact, 1e-3)).max()))
    assert math.isfinite(worst)
    assert worst <= 1
