"""What a page groups heads by: names earned in its own text, and groups of heads that look alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attention_analyzer.patterns.labels import label_heads
from attention_analyzer.record import AttentionRecord
from attention_analyzer.view.annotations import Annotations
from attention_analyzer.view.content import payload
from attention_analyzer.view.head_names import ALONE, alike_groups, pattern_content, picture_distances
from attention_analyzer.view.payload import read_payload

SIZE = 41


def planted() -> AttentionRecord:
    """Two previous-token heads, a first-token head and a random one, in two layers."""
    previous = torch.eye(SIZE).roll(-1, 1)
    previous[0] = torch.nn.functional.one_hot(torch.tensor(0), SIZE)
    previous[1:] = torch.eye(SIZE)[:-1]
    first = torch.nn.functional.one_hot(torch.zeros(SIZE, dtype=torch.long), SIZE).float()
    random = torch.softmax(3 * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0)), -1)
    layers = [torch.stack([previous, first]), torch.stack([random, 0.97 * previous + 0.03 / SIZE])]
    return AttentionRecord.from_weights(layers, [f"t{index}" for index in range(SIZE)], causal=False)


def test_planted_heads_bear_their_names_and_strengths() -> None:
    content = pattern_content(planted())
    names = {(label["site"], label["head"]): label["name"] for label in reversed(content["labels"])}
    assert names[0, 0] == names[1, 1] == "previous_token"
    assert names[0, 1] == "first_token"
    strengths = content["patterns"]["previous_token"]
    assert strengths[0] == pytest.approx(1, abs=1e-3)
    assert strengths[3] == pytest.approx(0.97, abs=0.01)
    assert max(strengths[1], strengths[2]) < 0.2


def test_a_short_text_names_no_heads_of_repetition() -> None:
    found = []
    for size in (12, 60):
        words = np.random.default_rng(0).permutation([*range(size // 2)] * 2)
        weights = torch.zeros(1, size, size)
        for query, word in enumerate(words):
            weights[0, query] = torch.tensor((words == word) & (np.arange(size) != query)).float()
        record = AttentionRecord.from_weights(weights, [f"w{word}" for word in words], causal=False)
        content = pattern_content(record)
        assert content["patterns"]["duplicate_token"] == [pytest.approx(1)]
        found.append({label["name"] for label in content["labels"]})
    assert "duplicate_token" not in found[0]
    assert "duplicate_token" in found[1]


def test_alike_heads_share_a_group_where_their_axes_are_the_same() -> None:
    random = np.random.default_rng(1)
    one, two = (random.dirichlet(np.full(7, 0.3), (5,)) for _ in range(2))
    pictures = [np.stack([one, two, one]), np.stack([two, one]), np.stack([one, one])]
    assert alike_groups(pictures, [(0, 0), (0, 0), (1, 0)]) == [
        "alike 1", "alike 2", "alike 1", "alike 2", "alike 1", "alike 3", "alike 3",
    ]  # fmt: skip
    assert alike_groups([np.stack([one, two])], [(0, 0)]) is None
    assert alike_groups([np.stack([one, two, two])], [(0, 0)]) == [ALONE, "alike 1", "alike 1"]


def test_distances_of_pictures_against_the_definition() -> None:
    pictures = np.random.default_rng(2).dirichlet(np.ones(7), (3, 5))
    found = picture_distances(pictures)
    for a in range(3):
        for b in range(3):
            middle = (pictures[a] + pictures[b]) / 2
            rows = sum((part * np.log2(part / middle)).sum(-1) for part in (pictures[a], pictures[b])) / 2
            assert found[a, b] == pytest.approx(np.sqrt(rows.mean()), abs=1e-6)


def test_names_from_several_texts_replace_those_of_the_page() -> None:
    record = planted()
    own = read_payload(payload(record)).header["records"][0]
    assert own["labels_from"] == "this text"
    assert "alike in this text" in [cluster["name"] for cluster in own["clusters"]]
    added = Annotations.of_labels(label_heads([planted() for _ in range(3)]))
    shown = read_payload(payload(record, annotations=added)).header["records"][0]
    assert shown["labels_from"] == "several texts"
    assert {(label["site"], label["head"]) for label in shown["labels"] if label["name"] == "previous_token"} == {
        (0, 0),
        (1, 1),
    }
