"""Attention between parts against full matrices summed by part, and its chance against the slow way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.parts import Part, PartAttention, between
from attention_analyzer.parts.chance import Geometry
from attention_analyzer.parts.measure import sinks_of
from attention_analyzer.weights.visibility import Visibility

TEXT = "The door of the old house was red. The boy went to the door. He saw a red door there, and he left the house."


@pytest.fixture(scope="module", params=["demo-decoder", "demo-encoder", "all-MiniLM-L6-v2"])
def record(request: pytest.FixtureRequest) -> AttentionRecord:
    return AttentionAnalyzer(request.param, cache=False).record(TEXT)


def slow(record: AttentionRecord, found: PartAttention) -> None:
    """Every array of a result, cell by cell from the full matrices."""
    sinks = sinks_of(record.tokens).numpy()
    owner = np.array(found.queries.owners)
    number = 0
    for entry in record.entries:
        full = entry.weights.full().double().numpy()
        bare = np.where(sinks, 0, full)
        bare = bare / np.maximum(bare.sum(-1, keepdims=True), 1e-300)
        causal = entry.weights.visibility.upper == 0
        sees = np.tril(np.ones(full.shape[1:])) if causal else np.ones(full.shape[1:])
        for head in range(len(full)):
            for query in range(len(found.queries)):
                rows = owner == query
                for key in range(len(found.keys)):
                    keys = owner == key
                    expected = full[head][rows][:, keys].sum(-1).mean()
                    assert found.weights[number, query, key] == pytest.approx(expected, abs=1e-5)
                    expected = bare[head][rows][:, keys].sum(-1).mean()
                    assert found.without_sinks[number, query, key] == pytest.approx(expected, abs=2e-5)
                    expected = (sees[rows][:, keys].sum(-1) / sees[rows].sum(-1)).mean()
                    assert found.by_size[number, query, key] == pytest.approx(expected)
            number += 1


def test_it_equals_the_full_matrices_summed_by_part(record: AttentionRecord) -> None:
    slow(record, record.between("sentence"))


def test_streaming_gives_the_same() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    found, expected = analyzer.between(TEXT, "sentence"), analyzer.record(TEXT).between("sentence")
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-6)
    np.testing.assert_allclose(found.by_distance, expected.by_distance, atol=1e-6)
    assert found.heads == expected.heads


@pytest.mark.parametrize("band", [(None, 0), (None, None), (-3, 0), (-2, 2), (-4, None)])
@pytest.mark.parametrize("masked", [False, True])
def test_chance_by_distance_equals_the_slow_way(band: tuple[int | None, int | None], masked: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    left_out = torch.rand(13, generator=generator) < 0.3
    sees = np.ones((13, 13), bool)
    for i in range(13):
        for j in range(13):
            sees[i, j] = (band[0] is None or j - i >= band[0]) and (band[1] is None or j - i <= band[1])
    seen = Visibility(13, 13, mask=torch.tensor(sees)[None, None]) if masked else Visibility(13, 13, *band)
    geometry = Geometry(seen, 0, (0, 4, 9, 13), (0, 2, 7, 13), left_out)
    sees[:, left_out.numpy()] = False
    edges = np.array(geometry.edges)
    offset = np.arange(13)[:, None] - np.arange(13)
    bins = np.searchsorted(edges, offset, side="right") - 1
    sums = torch.rand(2, len(edges) - 1, generator=generator).double()
    cells = np.array([(sees & (bins == number)).sum() for number in range(len(edges) - 1)])
    np.testing.assert_array_equal(geometry.cells.numpy(), cells)
    for head in range(2):
        each = np.where(cells > 0, sums[head].numpy() / np.maximum(cells, 1), 0)
        expected = np.where(sees, each[np.clip(bins, 0, len(each) - 1)], 0)
        expected /= np.maximum(expected.sum(-1, keepdims=True), 1e-300)
        for a, rows in enumerate((slice(0, 4), slice(4, 9), slice(9, 13))):
            for b, keys in enumerate((slice(0, 2), slice(2, 7), slice(7, 13))):
                value = geometry.by_distance(sums)[head, a, b]
                assert float(value) == pytest.approx(expected[rows, keys].sum(-1).mean(), abs=1e-9)


def test_a_head_that_looks_by_distance_alone_is_at_chance() -> None:
    size = 24
    offset = np.arange(size)[:, None] - np.arange(size)
    weights = np.where(offset == 2, 0.75, 0) + np.where(offset == 0, 0.25, 0)
    weights[:2] = np.eye(size)[:2]
    record = AttentionRecord.from_weights([weights[None].astype(np.float32)], ["x"] * size)
    found = record.between([Part("a", 0, 6), Part("b", 6, 15), Part("c", 15, size)])
    # Only the first two rows, which have no key two tokens back, make a difference.
    np.testing.assert_allclose(found.weights, found.by_distance, atol=0.04)
    assert np.abs(found.weights - found.by_size).max() > 0.2


def test_a_planted_part_stands_out() -> None:
    size = 20
    weights = np.tril(np.ones((size, size)))
    weights[15:, 5:8] += 20
    weights /= weights.sum(-1, keepdims=True)
    record = AttentionRecord.from_weights([weights[None].astype(np.float32)], ["x"] * size)
    found = record.between([Part("a", 0, 5), Part("source", 5, 8), Part("b", 8, 15), Part("answer", 15, 20)])
    above = found.matrix(values="above_chance")
    assert above.loc["answer"].idxmax() == "source" and above.loc["answer", "source"] > 0.2
    assert "answer to source" in found.facts()[1]


def test_rows_sum_to_one_and_tables_hold_everything(record: AttentionRecord) -> None:
    found = record.between("word")
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-4)
    np.testing.assert_allclose(found.by_size.sum(-1), 1)
    frame = found.to_frame()
    assert len(frame) == (found.by_size > 0).sum()
    first = frame.iloc[-1]
    matrix = found.matrix(int(first["layer"]), int(first["head"]))
    assert matrix.loc[first["query"], first["key"]] == pytest.approx(first["weight"])


def test_layers_and_figures(record: AttentionRecord) -> None:
    found = record.between("sentence", layers=[1])
    assert {site.layer for site, _ in found.heads} == {1}
    assert found.figure(layer=1, head=0, values="weights").axes
    with pytest.raises(SelectionError, match="no layer 99"):
        record.between(layers=[99])
    with pytest.raises(SelectionError, match="no head 99"):
        found.matrix(1, 99)
    with pytest.raises(SelectionError, match="no values 'x'"):
        found.matrix(values="x")


def test_cross_attention_has_parts_on_both_sides() -> None:
    record = AttentionAnalyzer("demo-translator", cache=False).record(
        "She was born on the third of March, nineteen eighty."
    )
    found = record.between("word", stack="decoder", kind="cross")
    assert "march" in [text.strip().lower() for text in found.keys.texts]
    assert np.isnan(found.by_distance).all() and not np.isnan(found.by_size).any()
    with pytest.raises(InputError, match="key_level"):
        record.between([Part("year", 0, 4)], stack="decoder", kind="cross")


def test_parts_are_saved_with_the_record(tmp_path: Path) -> None:
    from dataclasses import replace

    record = AttentionAnalyzer("demo-decoder", cache=False).record(TEXT)
    tokens = replace(record.tokens, parts=(Part("claim", 0, 34, "claims"),))
    entries = tuple(replace(entry, queries=tokens, keys=tokens) for entry in record.entries)
    loaded = AttentionRecord.load(replace(record, entries=entries).save(tmp_path / "a.attn"))
    assert loaded.tokens.parts == tokens.parts
    assert "claim" in loaded.parts("claims").names


def test_more_parts_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module = importlib.import_module("attention_analyzer.parts.measure")
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    record = AttentionAnalyzer("demo-decoder", cache=False).record(TEXT)
    with pytest.raises(InputError, match=r"coarser level than 'word' .its longest part is '.*'., or layers="):
        between(record, "word")
