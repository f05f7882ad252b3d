"""An atlas of a small model: complete, consistent, inert, and usable in a browser that fetches nothing."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.atlas.content import AtlasModel
from attention_analyzer.atlas.examples import chosen_texts, deciles_of
from attention_analyzer.atlas.pages import embedded, head_page, index_page
from attention_analyzer.atlas.site import write_site

HOSTILE = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> <!-- & \"quoted\" 'too' \u2028"
TEXTS = [
    "The cat sat on the mat, and the dog lay by the door.",
    "One day a girl named Sue saw a big tree near the house.",
    "Tom had a dog (it was small). The dog was happy.",
    HOSTILE,
    "She gave the book to her brother, and he was glad.",
    HOSTILE,
    "They ran down the road to the river, and they swam.",
    HOSTILE,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atlas")
    page = AttentionAnalyzer("demo-encoder", cache=False).atlas(TEXTS, folder)
    assert page == folder / "index.html"
    return folder


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]


def parsed(path: Path) -> Links:
    found = Links()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def test_there_is_a_page_and_a_json_for_every_head(folder: Path) -> None:
    summary = json.loads((folder / "atlas.json").read_text(encoding="utf-8"))
    (model,) = summary["models"]
    assert len(model["heads"]) == 36
    for head in model["heads"]:
        base = folder / model["folder"] / head["name"]
        whole = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
        assert whole["sentence"] == head["sentence"] and whole["model"] == "demo-encoder"
        assert {example["part"] for example in whole["examples"]} == {"top", "middle", "bottom"}
        shares = sum(term["share"] for term in whole["terms"])
        assert shares == pytest.approx(whole["numbers"]["explained"], abs=1e-3)
        assert {"entropy", "distance", "knock_out"} <= whole["numbers"].keys()
        assert len(whole["similar"]) == 5 and head["name"] not in [each["name"] for each in whole["similar"]]


def test_all_links_lead_somewhere_inside(folder: Path) -> None:
    for path in sorted(folder.rglob("*.html")):
        for link in parsed(path).links:
            assert (path.parent / link.partition("#")[0]).is_file(), (path, link)


def test_texts_are_never_markup(folder: Path) -> None:
    for path in sorted((folder / "heads").rglob("*.html")):
        assert not {"script", "img"} & parsed(path).tags
    assert "img" not in parsed(folder / "index.html").tags
    assert "script-src 'none'" in (folder / "heads" / "0" / "L0H0.html").read_text(encoding="utf-8")


def test_hostile_names_are_inert() -> None:
    head = json.loads(json.dumps(HEAD) % {"evil": "x"}) | {"sentence": HOSTILE, "labels": [HOSTILE]}
    model = AtlasModel(HOSTILE, (HOSTILE,), [head])
    for page in (head_page(model, 0), index_page([model], ["heads/0"], {})):
        found = Links()
        found.feed(page)
        assert "img" not in found.tags and "alert(1)</script>" not in page
    assert json.loads(embedded(HOSTILE)) == HOSTILE and "<" not in embedded(HOSTILE)


HEAD: dict[str, Any] = {
    "name": "L0H0",
    "stack": "encoder",
    "kind": "self",
    "layer": 0,
    "head": 0,
    "sentence": "%(evil)s",
    "above_controls": True,
    "labels": [],
    "numbers": {"explained": 0.5, "low": 0.4, "high": 0.6, "even": 0.2, "other": 0.1, "r2": None},
    "terms": [{"condition": "always", "rule": "offset -1", "weight": 0.5, "share": 0.5}],
    "deciles": [0.4, 0.6],
    "similar": [],
    "examples": [],
}


def test_two_models_are_linked_head_by_head(tmp_path: Path) -> None:
    models = [AtlasModel(name, (), [HEAD | {"name": f"L0H{number}"} for number in range(2)]) for name in ("one", "two")]
    write_site(models, {"L0H0": "L0H1"}, tmp_path)
    assert "../1/L0H1.html" in parsed(tmp_path / "heads" / "0" / "L0H0.html").links
    assert "../0/L0H0.html" in parsed(tmp_path / "heads" / "1" / "L0H1.html").links
    assert "other model" not in (tmp_path / "heads" / "0" / "L0H1.html").read_text(encoding="utf-8")


def test_examples_are_of_the_whole_distribution() -> None:
    explained = np.random.default_rng(0).permutation(np.arange(100) / 100)
    chosen = chosen_texts(explained)
    ranges = {"top": (0.9, 0.99), "middle": (0.45, 0.55), "bottom": (0.0, 0.09)}
    for part, (low, high) in ranges.items():
        values = explained[chosen[part]]
        assert len(values) == 3 and low <= values.min() and values.max() <= high + 1e-9
    assert deciles_of(explained) == pytest.approx([0.045 + 0.1 * number for number in range(10)])
    assert chosen_texts(np.array([0.5, np.nan])) == {"top": [0], "middle": [0], "bottom": [0]}


def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    with pytest.raises(errors.InputError, match="at least 6 texts are needed; 2 given"):
        analyzer.atlas(TEXTS[:2], tmp_path / "few")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(errors.InputError, match="cannot be made"):
        analyzer.atlas(TEXTS, tmp_path / "file")
    with pytest.raises(errors.InputError):
        analyzer.atlas(str(tmp_path / "nowhere"), tmp_path / "out")


def test_a_store_of_the_model_gives_its_texts_and_one_of_another_is_refused(tmp_path: Path) -> None:
    from attention_analyzer.atlas import is_store, store_texts

    one, two = (AttentionAnalyzer(name, cache=False) for name in ("demo-encoder", "demo-decoder"))
    one.scan(TEXTS, store=tmp_path / "store")
    assert is_store(tmp_path / "store") and not is_store(tmp_path)
    assert store_texts(tmp_path / "store", one.loaded) == TEXTS
    assert len(store_texts(tmp_path / "store", one.loaded, 4)) == 4
    with pytest.raises(errors.InputError, match="is of demo-encoder, which has other weights"):
        store_texts(tmp_path / "store", two.loaded)


def test_in_a_browser(folder: Path, browser: Any) -> None:
    page = browser.new_page()
    problems: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
    page.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    heads = json.loads((folder / "atlas.json").read_text(encoding="utf-8"))["models"][0]["heads"]
    expected = [head["name"] for head in heads if "at the token after" in head["sentence"]]
    page.goto(f"{(folder / 'index.html').as_uri()}#q=At+the+token+after&x=distance&head={expected[0]}&model=0")
    page.wait_for_selector("svg a circle")
    names = page.eval_on_selector_all(".list a", "links => links.map((link) => link.textContent)")
    assert names == expected and 0 < len(names) < 36
    assert page.eval_on_selector("#x", "select => select.value") == "distance"
    assert page.locator("svg a.chosen").count() == 1
    assert page.locator("svg a:not(.out)").count() == len(names)
    page.fill("#q", "")
    assert page.locator(".list li").count() == 36
    page.select_option("#color", "label")
    assert "color=label" in page.evaluate("location.hash")
    page.click(".list li:nth-child(3) a")
    page.wait_for_selector(".sentence")
    assert page.locator(".token").count() > 50
    assert problems == [] and all(url.startswith("file:") for url in requests)
    page.close()
