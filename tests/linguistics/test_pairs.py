"""Relations of one's own: read from lines, scored on records and models by the path of the built-in ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord, errors
from attention_analyzer.linguistics import Relations, read_annotated

SIZE = 23


def matching(size: int, pairs: list[tuple[int, int]]) -> torch.Tensor:
    """A head that looks from the one side of each pair at the other, and elsewhere everywhere alike."""
    rows = torch.full((size, size), 1 / size)
    for start, end in pairs:
        rows[start] = torch.nn.functional.one_hot(torch.tensor(end), size)
    return rows


def planted(count: int = 30) -> tuple[list[AttentionRecord], list[list[tuple[int, int]]]]:
    draws = np.random.default_rng(0)
    records, pairs = [], []
    for _ in range(count):
        chosen = [(int(start), int(end)) for start, end in draws.permutation(SIZE)[:8].reshape(4, 2)]
        layers = [torch.stack([torch.full((SIZE, SIZE), 1 / SIZE), matching(SIZE, chosen)])]
        records.append(AttentionRecord.from_weights(layers, [f"t{index}" for index in range(SIZE)], causal=False))
        pairs.append(chosen)
    return records, pairs


def test_a_planted_head_is_found_in_records_without_a_model() -> None:
    records, pairs = planted()
    named = [[(start, end, "bond") for start, end in each] for each in pairs]
    table = Relations.score(records, named).table(fewest=1).set_index("label")
    assert table.loc["bond", "head"] == 1 and table.loc["bond", "accuracy"] == 1.0
    assert table.loc["bond", "direction"] == "from→to"
    assert table.loc["bond", "baseline"] < 0.3


def test_arrays_and_functions_say_the_same_as_lists() -> None:
    records, pairs = planted(8)
    of_record = {id(record): each for record, each in zip(records, pairs, strict=True)}
    tables = [
        Relations.score(records, given).table(fewest=1)
        for given in (pairs, [np.array(each) for each in pairs], lambda record: of_record[id(record)])
    ]
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
    assert tables[0]["label"].tolist() == ["pair"]


def lines(*entries: dict[str, Any]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


TEXT = "The old man saw the cat."
PAIR = {"text": TEXT, "from": [8, 11], "to": [12, 15], "relation": "subject"}


def test_lines_become_words_and_a_model_and_its_records_agree(tmp_path: Path) -> None:
    texts = [f"The {name} saw the cat." for name in ("man", "boy", "dog", "old man", "small girl", "hen")]
    path = tmp_path / "pairs.jsonl"
    made = [
        {"text": text, "from": [4, text.index(" saw")], "to": [text.index("saw"), text.index("saw") + 3]}
        for text in texts
    ]
    path.write_text(lines(*(entry | {"relation": "subject"} for entry in made)), encoding="utf-8")
    read = list(read_annotated(path))
    assert read[3].pairs[0].start == (1, 2) and read[3].pairs[0].end == (3,)
    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    of_model = analyzer.relations(path).table(fewest=1)
    of_records = Relations.score(analyzer.record(texts), read).table(fewest=1)
    assert of_model["accuracy"].tolist() == of_records["accuracy"].tolist()
    assert of_model["label"].tolist() == ["subject"] and of_model["task"].tolist() == ["pairs"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (PAIR | {"to": [20, 99]}, r'line 1: "to" is \[20, 99\], but the text has 24 characters'),
        (PAIR | {"from": [3, 3]}, r'"from" is \[3, 3\]'),
        (PAIR | {"from": [3, 4]}, '"from" covers no word'),
        (PAIR | {"relation": " "}, 'the "relation" is empty'),
        ({"words": "x"}, 'no object with a "text"'),
    ],
)
def test_lines_that_are_no_pairs_are_refused(entry: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(lines(entry), encoding="utf-8")
    with pytest.raises(errors.FileFormatError, match=message):
        list(read_annotated(path))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[(0, 99, "bond")]], "has the position 99, but its text has 23 tokens"),
        ([[(0, 1, "")]], "without a relation's name"),
        ([[]], "There is no pair"),
        ([[], []], "1 records and the pairs of 2 were given"),
        ([[(1,)]], "a pair is"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(pairs: Any, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        Relations.score(planted(1)[0], pairs)
