"""Layers, heads, queries and keys may be counted from the end wherever one is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from attention_analyzer import AttentionAnalyzer, AttentionRecord, errors
from attention_analyzer.site import Site, from_end, head_rows, is_layer

TEXT = "Tom saw a red bird. Sue saw a red bird"
OTHER = "Tom saw a big bird. Sue saw a big bird"


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.fixture(scope="module")
def record(decoder: AttentionAnalyzer) -> AttentionRecord:
    return decoder.record(TEXT)


Call = Callable[[AttentionAnalyzer, AttentionRecord, int, int, int, int], Any]
#: Each is given layer, head, query and key.
DOORS: dict[str, Call] = {
    "entry": lambda a, r, layer, head, query, key: r.entry(layer).site,
    "weights": lambda a, r, layer, head, query, key: r.weights(layer, head, queries=query).tolist(),
    "received": lambda a, r, layer, head, query, key: r.received(layer).tolist(),
    "lazy weights": lambda a, r, layer, head, query, key: r.entry(layer).weights[head, query, key].tolist(),
    "why": lambda a, r, layer, head, query, key: a.why(TEXT, layer, head, query, key).to_frame().to_csv(),
    "why of a record": lambda a, r, layer, head, query, key: r.why(layer, head, query, key).to_frame().to_csv(),
    "ablate": lambda a, r, layer, head, query, key: a.what_if(TEXT, ablate=f"L{layer}H{head}").to_frame().to_csv(),
    "ablate a pair": lambda a, r, layer, head, query, key: a.what_if(TEXT, ablate=(layer, head)).to_frame().to_csv(),
    "knock out": lambda a, r, layer, head, query, key: (
        a.what_if(TEXT, knock_out=f"L{layer}H{head}:{query}>{key}").to_frame().to_csv()
    ),
    "position": lambda a, r, layer, head, query, key: a.effects(TEXT, position=query).to_frame().to_csv(),
    "patched into": lambda a, r, layer, head, query, key: (
        a.patch(TEXT, OTHER, into=f"L{layer}H{head}").to_frame().to_csv()
    ),
    "direct effect by source": lambda a, r, layer, head, query, key: a.effects(TEXT).by_source(layer, head).to_csv(),
    "parts": lambda a, r, layer, head, query, key: r.between("sentence", layers=[layer]).to_frame().to_csv(),
    "parts of a head": lambda a, r, layer, head, query, key: r.between("sentence").matrix(layer, head).to_csv(),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_last_ones(decoder: AttentionAnalyzer, record: AttentionRecord, door: str) -> None:
    layers, tokens = len(record.sites), len(record.tokens)
    heads = record.sites[0].heads
    call = DOORS[door]
    assert call(decoder, record, -1, -2, -1, -3) == call(decoder, record, layers - 1, heads - 2, tokens - 1, tokens - 3)


@pytest.mark.parametrize("door", [door for door in DOORS if door != "position"])
def test_before_the_first_there_is_none(decoder: AttentionAnalyzer, record: AttentionRecord, door: str) -> None:
    with pytest.raises(errors.InputError):
        DOORS[door](decoder, record, -len(record.sites) - 1, 0, 3, 1)


@pytest.mark.parametrize("huge", ["9" * 5000, "L" + "9" * 5000, "L0:document " * 900 + ">1"])
def test_what_is_huge_is_refused_in_a_line(decoder: AttentionAnalyzer, huge: str) -> None:
    for given in ({"knock_out": huge}, {"ablate": huge}):
        with pytest.raises(errors.InputError) as refused:
            decoder.what_if(TEXT, **given)
        assert len(str(refused.value)) < 600


def test_programs(decoder: AttentionAnalyzer) -> None:
    found = decoder.programs([TEXT, OTHER, *(f"{TEXT} {word}" for word in ("and", "who", "but", "had"))])
    assert found.sentence(-1, -1) == found.sentence(4, 5)
    assert found.of(-2, -6) == found.of(3, 0)
    for outside in ((-6, 0), (0, -7), (5, 0), (0, 6)):
        with pytest.raises(errors.SelectionError):
            found.sentence(*outside)
        with pytest.raises(errors.SelectionError):
            found.of(*outside)


def test_commands(attn: Callable[..., tuple[int, str, str]]) -> None:
    last, named = (attn("scan", TEXT, "--model", "demo-decoder", "--layer", layer) for layer in (-1, 4))
    assert last == named and last[0] == 0
    assert attn("scan", TEXT, "--model", "demo-decoder", "--layer", -6)[0] != 0
    cell = ("--layer", -1, "--head", -1, "--query", -1, "--key", -2)
    where = ("--layer", 4, "--head", 5, "--query", 11, "--key", 10)
    assert attn("why", TEXT, "--model", "demo-decoder", *cell) == attn("why", TEXT, "--model", "demo-decoder", *where)


def test_of_each_stack_its_own_end() -> None:
    sites = [Site("encoder", "self", layer, 2) for layer in range(3)] + [Site("decoder", "self", 0, 4)]
    assert [is_layer(site, -1, sites) for site in sites] == [False, False, True, True]
    assert [from_end(number, 3) for number in (-4, -3, -1, 0, 2, 3)] == [-1, 0, 2, 0, 2, -1]
    rows = [(site.stack, site.kind, site.layer, head) for site in sites for head in range(site.heads)]
    table = pd.DataFrame(rows, columns=["stack", "kind", "layer", "head"])
    assert head_rows(table, -1, -1).to_numpy().tolist() == [["encoder", "self", 2, 1], ["decoder", "self", 0, 3]]
    assert head_rows(table, -4).empty and head_rows(table.head(0), 0).empty
