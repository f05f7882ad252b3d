"""Contrastive directions: planted ones are found, removing them is what is reported, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from attention_analyzer import AttentionAnalyzer, errors, read_annotated
from attention_analyzer.cli.main import app
from attention_analyzer.mechanism import token_pairs

TEXTS = [
    "Tom saw a red bird. Sue saw a big dog.",
    "The old dog ran to the house. The boy was happy.",
    "One day a girl named Lily went out to play.",
    "Ben had a big ball. Mia had a small one.",
    "He put the book on the table and went home.",
    "I like to eat cake. You like to eat bread.",
]


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def previous(tokens: Any) -> list[tuple[int, int]]:
    return [(at, at - 1) for at in range(2, len(tokens))]


def test_a_previous_token_head_loses_its_weight_without_its_directions(decoder: AttentionAnalyzer) -> None:
    found = decoder.contrast(TEXTS, previous, 1, 4)
    assert found.texts == (3, 3)
    both = found.table.iloc[-1]
    assert both["direction"] == "1 to 3"
    assert both["low"] > 0.15
    assert both["removed"] < both["random"] < both["weight"] + 0.02
    weights = [decoder.record(text).weights(1, 4) for text in TEXTS[1::2]]
    by_hand = np.mean([float(each.diagonal(-1)[1:].mean()) for each in weights])
    assert both["weight"] == pytest.approx(by_hand, abs=1e-5)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(3), atol=1e-9)


def test_removing_a_direction_by_hand(decoder: AttentionAnalyzer) -> None:
    """Queries without the direction, scores, softmax over what came before."""
    found = decoder.contrast(TEXTS, previous, 1, 4, directions=1)
    direction = torch.from_numpy(found.directions[0])
    expected = []
    for text in TEXTS[1::2]:
        source: Any = decoder.record(text).entry(1).weights
        q, k = source.source.query[0, 4].double(), source.source.key[0, 2].double()
        q = q - (q @ direction)[:, None] * direction
        scores = source.source.scaling * q @ k.T
        hidden = torch.ones_like(scores).triu(1).bool()
        expected.append(float(scores.masked_fill(hidden, -torch.inf).softmax(-1).diagonal(-1)[1:].mean()))
    assert found.table["removed"].iloc[0] == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_strengths_sum_to_the_score_difference(decoder: AttentionAnalyzer) -> None:
    found = decoder.contrast(TEXTS, previous, 1, 4, directions=48)
    differences = []
    for text in TEXTS[::2]:
        source: Any = decoder.record(text).entry(1).weights
        scores = (source.source.scaling * source.source.query[0, 4] @ source.source.key[0, 2].T).double()
        rows = range(2, len(scores))
        differences.append(
            np.mean([float(scores[at, at - 1] - scores[at, [*range(at - 1), at]].mean()) for at in rows])
        )
    assert found.spectrum.sum() == pytest.approx(np.mean(differences), abs=1e-4)
    assert found.table["gap"].iloc[-1] == pytest.approx(1, abs=1e-6)
    assert (np.diff(found.spectrum) <= 1e-12).all()


def test_pairs_of_ones_own_from_a_file(decoder: AttentionAnalyzer, tmp_path: Path) -> None:
    lines = []
    for text in TEXTS:
        first, second = text.split(" ")[:2]
        span = [len(first) + 1, len(first) + 1 + len(second)]
        lines.append(json.dumps({"text": text, "from": span, "to": [0, len(first)], "relation": "before"}))
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    annotated = list(read_annotated(path))
    pairs = list(token_pairs(annotated[0])(decoder.record(TEXTS[0]).tokens))
    assert pairs == [(2, 1)]
    done = CliRunner().invoke(app, ["contrast", str(path), "-m", "demo-decoder", "-l", "1", "-H", "4"])
    assert done.exit_code == 0, done.output
    assert "L1H4: chosen pairs score" in done.output


@pytest.mark.parametrize(
    ("texts", "pairs", "place", "error", "message"),
    [
        (TEXTS[:3], previous, (1, 4), errors.InputError, "3 texts have pairs"),
        (TEXTS, lambda _: [], (1, 4), errors.InputError, "0 texts have pairs"),
        (TEXTS, lambda _: [(3, 99)], (1, 4), errors.InputError, r"Text 0 has the pair \(3, 99\)"),
        (TEXTS, [[(2, 1)]], (1, 4), errors.InputError, "6 texts and the pairs of 1 were given"),
        (TEXTS, previous, (9, 4), errors.SelectionError, "There is no head 4 in layer 9"),
    ],
)
def test_bad_input_is_one_sentence(
    decoder: AttentionAnalyzer, texts: Any, pairs: Any, place: tuple[int, int], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        decoder.contrast(texts, pairs, *place)
