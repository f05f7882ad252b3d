"""Results of analyses of several texts, compared with stored ones: a change of the code must not change them.

After a change that is meant to alter results, ``python tests/golden/test_golden.py`` stores them anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from attention_analyzer import AttentionAnalyzer

STORED = Path(__file__).parent
TEXTS = [
    "The cat sat on the mat, and the dog lay by the door.",
    "When the rain stopped, the children went out to play in the garden.",
    "She gave the book to her brother because he had asked for it. He read it at once.",
    "One two three one two three one two three.",
    "A short text.",
]
#: Each analysis, by name: the model, and the tables that it results in.
ANALYSES: dict[str, tuple[str, Callable[[AttentionAnalyzer], list[pd.DataFrame]]]] = {
    "patterns-encoder": ("demo-encoder", lambda model: [model.label_heads(TEXTS).table]),
    "patterns-decoder": ("demo-decoder", lambda model: [model.label_heads(TEXTS, batch_size=2).table]),
    "patterns-translator": ("demo-translator", lambda model: [model.label_heads(TEXTS).table]),
    "similarity-encoder": (
        "demo-encoder",
        lambda model: [(found := model.similarity(TEXTS)).table, found.pairs, found.distances.reset_index()],
    ),
    "similarity-cross": ("demo-translator", lambda model: [model.similarity(TEXTS, kind="cross").pairs]),
    "depth-decoder": (
        "demo-decoder",
        lambda model: [(found := model.depth_profile(TEXTS)).table, found.heads],
    ),
    "cache-advice-decoder": (
        "demo-decoder",
        lambda model: [(found := model.cache_advice(TEXTS, first=(1, 2), last=(2, 4))).table, found.heads],
    ),
    "importance-decoder": ("demo-decoder", lambda model: [model.head_importance(TEXTS).table]),
}


def columns(table: pd.DataFrame) -> dict[str, list[object]]:
    plain = table.to_json(orient="split", double_precision=12)
    read = json.loads(plain)
    return {str(name): [row[place] for row in read["data"]] for place, name in enumerate(read["columns"])}


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@pytest.mark.parametrize("name", ANALYSES)
def test_results_are_the_stored_ones(name: str) -> None:
    model, analyze = ANALYSES[name]
    found = [columns(table) for table in analyze(AttentionAnalyzer(model, cache=False))]
    stored = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    assert len(found) == len(stored)
    for ours, theirs in zip(found, stored, strict=True):
        assert list(ours) == list(theirs)
        for column, values in theirs.items():
            expected = [pytest.approx(each, rel=1e-5, abs=2e-6) if is_number(each) else each for each in values]
            assert ours[column] == expected, column


if __name__ == "__main__":
    for each, (model_name, analysis) in ANALYSES.items():
        tables = [columns(table) for table in analysis(AttentionAnalyzer(model_name, cache=False))]
        (STORED / f"{each}.json").write_text(json.dumps(tables) + "\n", encoding="utf-8")
