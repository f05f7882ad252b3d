"""Results of analyses of several texts, compared with stored ones: a change of the code must not change them.

After a change that is meant to alter results, ``python tests/golden/test_golden.py [NAME …]`` stores them again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.text.annotation import AnnotatedText
from attention_analyzer.text.conll2012 import read_conll2012
from attention_analyzer.text.conllu import read_conllu
from attention_analyzer.training.snapshot import Measuring

STORED = Path(__file__).parent
TEXTS = [
    "The cat sat on the mat, and the dog lay by the door.",
    "When the rain stopped, the children went out to play in the garden.",
    "She gave the book to her brother because he had asked for it. He read it at once.",
    "One two three one two three one two three.",
    "A short text.",
]


def sentences() -> list[AnnotatedText]:
    return list(read_conllu((STORED / "sentences.conllu").read_text(encoding="utf-8").splitlines(), "sentences"))


def related(model: AttentionAnalyzer) -> list[pd.DataFrame]:
    """Dependencies with the combination of all heads, roles, and coreference."""
    found = model.relations(sentences())
    mentions = model.relations(
        list(read_conll2012((STORED / "mentions.conll").read_text(encoding="utf-8").splitlines(), "mentions"))
    )
    tables = [each.table(fewest=1) for each in (found, mentions)]
    tables += [scores.head_table(scores.labels[0]) for scores in (*found.tasks.values(), *mentions.tasks.values())]
    assert found.combination is not None
    return [*tables, pd.DataFrame([asdict(found.combination)])]


def snapshot(model: AttentionAnalyzer) -> pd.DataFrame:
    """What a tracker writes of one step, without the kept patterns."""
    table = Measuring(model.loaded).table(model.loaded)
    return table.drop(columns=["pattern", "pattern_queries"])


def scanned(model: AttentionAnalyzer) -> list[pd.DataFrame]:
    """What a corpus scan keeps: means of every head, examples, and pairs found by their tokens."""
    with TemporaryDirectory() as folder:
        corpus = model.scan(TEXTS, Path(folder) / "scan", progress=False)
        return [corpus.heads(), corpus.examples_table, corpus.search("the", "cat")]


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
    "ablation-decoder": (
        "demo-decoder",
        lambda model: [model.head_importance(TEXTS, "ablation", ablation="mean", heads=["L0H1", "L2"]).table],
    ),
    "importance-encoder": (
        "demo-encoder",
        lambda model: [model.head_importance(TEXTS, batch_size=2).table, model.pruning_curve(TEXTS).table],
    ),
    "relations-encoder": ("demo-encoder", related),
    "relations-decoder": ("demo-decoder", related),
    "depth-annotated": (
        "demo-encoder",
        lambda model: [(found := model.depth_profile(sentences())).table, found.heads],
    ),
    "snapshot-encoder": ("demo-encoder", lambda model: [snapshot(model)]),
    "snapshot-translator": ("demo-translator", lambda model: [snapshot(model)]),
    "corpus-encoder": ("demo-encoder", scanned),
    "corpus-translator": ("demo-translator", scanned),
    "comparison": (
        "demo-encoder",
        lambda model: [(found := model.compare("all-MiniLM-L6-v2", texts=TEXTS)).heads, found.matching.table],
    ),
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
        if sys.argv[1:] and each not in sys.argv[1:]:
            continue
        tables = [columns(table) for table in analysis(AttentionAnalyzer(model_name, cache=False))]
        (STORED / f"{each}.json").write_text(json.dumps(tables) + "\n", encoding="utf-8")
