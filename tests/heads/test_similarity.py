"""How alike heads are: against loops, and planted twins, complements and loners."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.heads import complement, similarity
from attention_analyzer.heads.clusters import clusters_of, map_of, tight_groups
from attention_analyzer.heads.complement import coverage
from attention_analyzer.heads.distance import distance_of, divergence_of_heads
from attention_analyzer.heads.similarity import HeadSimilarity, _pairs
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config, load
from attention_analyzer.run.study import MeasuredBatch
from tests.hooks.small import FORMS

TEXTS = [
    "The old man looked at the river and the boy went home.",
    "She was not afraid of the dark.",
    "It was a cold day, and the wind blew from the sea to the hill.",
    "Tom had a red ball. He liked to play with it.",
]


def record_of(*layers: Tensor) -> AttentionRecord:
    return AttentionRecord.from_weights(list(layers), [f"t{index}" for index in range(layers[0].shape[-1])])


def random_rows(heads: int, tokens: int, seed: int = 0) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(heads, tokens, tokens, generator=numbers), dim=-1)


def entropy(row: list[float]) -> float:
    return -sum(p * math.log(p) for p in row if p > 0)


def test_divergence_is_the_definition() -> None:
    first, second = random_rows(2, 5), random_rows(3, 5, seed=1)
    found = divergence_of_heads(record_of(first, second).entries)
    heads = [head.tolist() for head in (*first, *second)]
    for a, left in enumerate(heads):
        for b, right in enumerate(heads):
            total = 0.0
            for row in range(5):
                p = [0.999 * weight + 0.001 / 5 for weight in left[row]]
                q = [0.999 * weight + 0.001 / 5 for weight in right[row]]
                total += entropy([(x + y) / 2 for x, y in zip(p, q, strict=True)]) - (entropy(p) + entropy(q)) / 2
            assert float(found[a, b]) == pytest.approx(total / 5, abs=2e-6)
    assert distance_of(math.log(2)) == 1


def test_coverage_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = random_rows(2, 7), random_rows(3, 7, seed=1)
    heads = torch.cat([first, second]).double()
    monkeypatch.setattr(complement, "_CELLS", 5 * 7 * 2)  # several runs of rows
    found = coverage(record_of(first, second).entries)
    for a in range(5):
        for b in set(range(5)) - {a}:
            others = torch.stack([heads[other] for other in range(5) if other not in (a, b)]).mean(0)
            alone = together = expected = 0.0
            for row in range(7):
                m = others[row].tolist()
                has_a = [float(heads[a, row, key]) >= m[key] for key in range(7)]
                has_b = [float(heads[b, row, key]) >= m[key] for key in range(7)]
                c_a = sum(share for share, has in zip(m, has_a, strict=True) if has)
                c_b = sum(share for share, has in zip(m, has_b, strict=True) if has)
                alone += c_a / 7
                together += sum(share for share, x, y in zip(m, has_a, has_b, strict=True) if x or y) / 7
                expected += (c_a + c_b - c_a * c_b) / 7
            assert float(found.alone[a, b]) == pytest.approx(alone, abs=1e-6)
            assert float(found.together[a, b]) == pytest.approx(together, abs=1e-6)
            assert float(found.expected[a, b]) == pytest.approx(expected, abs=1e-6)


def test_halves_complete_each_other() -> None:
    even = torch.zeros(8, 8)
    even[:, ::2] = 1 / 4
    uniform = torch.full((8, 8), 1 / 8)
    found = coverage(record_of(torch.stack([even, even.roll(1, 1), uniform, uniform])).entries)
    assert float(found.together[0, 1]) == pytest.approx(1)
    assert float(found.alone[0, 1]) == pytest.approx(0.5)
    assert float(found.expected[0, 1]) == pytest.approx(0.75)
    assert float(found.together[0, 1]) > float(found.together[0, 2]) - 1e-9


def test_complementary_pairs_are_called_so_and_no_others() -> None:
    """Heads 0 and 1 share out the keys between them; the others look everywhere, a little differently in each text."""
    even = torch.zeros(12, 12)
    even[:, ::2] = 1 / 6
    texts = []
    for seed in range(6):
        others = random_rows(3, 12, seed).mul(0.3).add(0.7 / 12)
        texts.append(record_of(torch.cat([torch.stack([even, even.roll(1, 1)]), others])))
    arrays = HeadSimilarity().take(load("demo-encoder"), MeasuredBatch(tuple(range(6)), None, (), tuple(texts))).arrays
    pairs = _pairs(arrays["divergence"], arrays, list("abcde"), 0.2, 0)
    assert pairs[pairs["complementary"]][["first", "second"]].to_numpy().tolist() == [["a", "b"]]
    best = pairs[pairs["complementary"]].iloc[0]
    assert best["excess_low"] > 0.2
    assert best["q"] < 0.001


def test_three_heads_are_compared_without_complements() -> None:
    config = AutoConfig.for_model("bert", **FORMS["encoder"][1] | {"vocab_size": 9000, "num_attention_heads": 3,
                                                                  "num_hidden_layers": 1})  # fmt: skip
    found = similarity(from_config(config, load("demo-encoder").tokenizer), TEXTS)
    assert len(found.table) == 3
    assert not found.pairs["complementary"].any()
    assert found.pairs["excess"].isna().all()


def twins(loaded: LoadedModel, layer: int, original: int, copied: int) -> LoadedModel:
    """A copy of demo-encoder in which one head has another's queries and keys."""
    model: Any = copy.deepcopy(loaded.model)
    attention = model.bert.encoder.layer[layer].attention.self
    size = attention.attention_head_size
    source, target = (slice(head * size, (head + 1) * size) for head in (original, copied))
    with torch.no_grad():
        for part in (attention.query, attention.key):
            part.weight[target] = part.weight[source]
            part.bias[target] = part.bias[source]
    return LoadedModel(model, loaded.tokenizer, "twins")


def test_identical_heads_are_redundant() -> None:
    found = similarity(twins(load("demo-encoder"), 2, 1, 4), TEXTS)
    pairs = found.pairs.set_index(["first", "second"])
    assert pairs.loc[("L2H1", "L2H4"), "distance"] < 1e-3
    assert pairs.loc[("L2H1", "L2H4"), "redundant"]
    assert found.groups == [("L2H1", "L2H4")]
    assert pairs["redundant"].sum() == 1
    table = found.table.set_index("name")
    assert table.loc["L2H1", "nearest"] == "L2H4"
    assert table.loc["L2H1", "cluster"] == table.loc["L2H4", "cluster"]
    assert not pairs.loc[("L2H1", "L2H4"), "complementary"]
    assert (pairs["low"] <= pairs["distance"] + 1e-9).all()
    assert (pairs["high"] >= pairs["distance"] - 1e-9).all()
    assert found.complementary["excess"].min() > 0
    assert 0 < found.shown < 1


def test_a_head_that_looks_like_no_other() -> None:
    """L0H2 of MiniLM puts everything on the previous token; no other head does."""
    found = similarity(load("all-MiniLM-L6-v2"), TEXTS)
    assert found.specialised == ["L0H2"]
    assert len(found.table) == 72
    assert found.place == "encoder self"
    assert found.distances.loc["L0H2", "L0H2"] == 0


def test_stacks_and_kinds_are_compared_apart() -> None:
    analyzer = AttentionAnalyzer("demo-translator", cache=False)
    texts = [f"She was born on the {day} of March, nineteen eighty-four." for day in ("third", "tenth", "first")]
    assert similarity(analyzer.loaded, texts).place == "encoder self"
    cross = analyzer.similarity(texts, kind="cross")
    assert (cross.place, len(cross.table)) == ("decoder cross", 12)
    with pytest.raises(SelectionError, match="no vision self-attention"):
        analyzer.similarity(texts, stack="vision")


def test_too_little_to_compare() -> None:
    loaded = load("demo-encoder")
    with pytest.raises(InputError, match="At least 3 texts"):
        similarity(loaded, TEXTS[:2])
    with pytest.raises(InputError, match="At least 3 texts"):
        similarity(loaded, "a single text")  # type: ignore[arg-type]


def distances_between(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.sqrt(((points[:, None] - points) ** 2).sum(-1))


def test_a_map_of_points_in_a_plane_is_that_plane() -> None:
    points = np.random.default_rng(0).normal(size=(11, 2))
    places, shown = map_of(distances_between(points))
    np.testing.assert_allclose(distances_between(places), distances_between(points), atol=1e-9)
    assert shown == pytest.approx(1)
    solid = np.random.default_rng(0).normal(size=(11, 7))
    assert map_of(distances_between(solid))[1] < 0.7


def divergences(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Divergences whose distances are those of points, scaled into [0, 1]."""
    return (0.1 * distances_between(points)) ** 2 * math.log(2)


def test_clusters_are_found_and_their_stability_told() -> None:
    draws = np.random.default_rng(0)
    centers = np.repeat([[0.0, 0], [4, 0], [0, 4]], [5, 4, 3], axis=0)
    apart = np.stack([divergences(centers + draws.normal(scale=0.3, size=(12, 2))) for _ in range(7)])
    found = clusters_of(apart)
    assert found.labels.tolist() == [0] * 5 + [1] * 4 + [2] * 3
    assert found.stability == pytest.approx(1)
    assert found.by_head.min() == pytest.approx(1)
    assert found.silhouette > 0.7
    alike = np.stack([divergences(draws.normal(size=(12, 2))) for _ in range(7)])
    loose = clusters_of(alike)
    assert loose.stability < 0.6
    assert loose.silhouette < 0.4
    assert len(set(clusters_of(apart, 5).labels)) == 5


def test_groups_are_tight() -> None:
    """In a chain every link is short, but its ends are no group."""
    line = np.arange(5.0)[:, None] * 0.1
    groups = tight_groups(distances_between(line), 0.15)
    assert all(max(group) - min(group) <= 1 for group in groups)
    assert sum(len(group) for group in groups) <= 4


def test_the_figure_names_its_stability() -> None:
    figure = similarity(load("demo-encoder"), TEXTS).plot()
    assert "bootstrap stability" in figure.get_suptitle()


def test_the_same_call_gives_the_same_intervals() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    texts = ["Tom saw a red bird.", "The dog ran to the man.", "A man sat on the bed and read."]
    one, other = analyzer.similarity(texts), analyzer.similarity(texts)
    pd.testing.assert_frame_equal(one.table, other.table)
    pd.testing.assert_frame_equal(one.pairs, other.pairs)
    inside = one.pairs["excess"].between(one.pairs["excess_low"] - 1e-9, one.pairs["excess_high"] + 1e-9)
    assert inside.all()
