"""Tables of heads against rules, from answers that are planted."""

from __future__ import annotations

import numpy as np
import pytest

from attention_analyzer.errors import SelectionError
from attention_analyzer.linguistics.dependencies import dependency_questions
from attention_analyzer.linguistics.questions import Answers
from attention_analyzer.linguistics.scores import Scores, offset_rules
from attention_analyzer.site import Site
from attention_analyzer.text.conllu import read_conllu
from tests.linguistics.treebank import ROWS, treebank

SITE = Site("encoder", "self", 2, 5)


def planted(sentences: int = 120, right: float = 0.9, seed: int = 0) -> Scores:
    """Five heads that guess, but head 3 finds subjects' governors with a share of ``right``."""
    rng = np.random.default_rng(seed)
    texts = list(read_conllu(treebank(sentences).splitlines(), "file"))
    questions = dependency_questions(texts)
    words = np.stack([rng.integers(0, len(texts[q.sentence]), 5) for q in questions]).astype(np.int16)
    for row, question in enumerate(questions):
        if "nsubj" in question.labels and not question.received and rng.random() < right:
            words[row, 3] = next(iter(question.answers))
    heads = tuple((SITE, head) for head in range(5))
    answers = Answers(heads, words, np.ones(len(questions), dtype=bool))
    return Scores("dependencies", texts, questions, answers, {"offset": offset_rules(questions)})


def test_a_planted_head_is_found_and_holds_on_unseen_sentences() -> None:
    scores = planted()
    # Subjects are one or two words from the verb: no; in this treebank it is always the next word.
    row = scores.table().set_index("label").loc["nsubj"]
    assert (row["layer"], row["head"], row["direction"]) == (2, 3, "dependent→governor")
    assert row["questions"] == 120
    assert row["offset_rule"] == "+1"
    assert row["baseline"] == 1
    obj = scores.table().set_index("label").loc["det"]
    assert obj["baseline"] == pytest.approx(0.75)
    assert row["held_out"] == pytest.approx(row["accuracy"])
    assert row["chosen"] == "L2H3"
    assert row["low"] < row["held_out"] < row["high"]
    assert row["p"] > 0.5


def test_the_best_of_many_guessing_heads_does_not_survive() -> None:
    scores = planted(right=0)
    table = scores.table().set_index("label")
    assert (table["better_heads"] == 0).all()
    assert table.loc["nsubj", "held_out"] <= table.loc["nsubj", "accuracy"]
    heads = scores.head_table("amod")
    assert (heads["p_holm"] >= heads["p_bh"]).all()
    assert (heads["p_holm"] == 1).all()


def test_a_head_better_than_its_baseline_is_counted() -> None:
    scores = planted()
    blind = Scores(
        scores.task,
        scores.sentences,
        scores.questions,
        scores.answers,
        # Rules that are never right, so that the planted head has something to beat.
        {"offset": offset_rules([q.__class__(**{**q.__dict__, "answers": frozenset({99})}) for q in scores.questions])},
    )
    row = blind.table().set_index("label").loc["nsubj"]
    assert row["better_heads"] >= 1
    assert row["p_holm"] < 0.001
    assert row["baseline"] == 0


def test_examples_are_the_sentences_behind_a_cell() -> None:
    scores = planted(right=1)
    right = scores.examples("nsubj", 2, 3, direction="dependent→governor", limit=1000)
    assert len(right) == 120
    assert all(example.correct and example.looks_at in example.answers for example in right)
    assert str(right[0]) == "✓ The *dog* [saw] a teacher . → 'saw'"
    assert right[1].name == "s1"
    wrong = scores.examples("nsubj", 2, 0, correct=False, limit=3)
    assert len(wrong) == 3
    assert str(wrong[0]).startswith("✗")
    with pytest.raises(SelectionError, match="no head L2H9"):
        scores.examples("nsubj", 2, 9)
    with pytest.raises(SelectionError, match="the labels are: all, "):
        scores.examples("nsub", 2, 3)
    with pytest.raises(SelectionError, match="no direction 'up'"):
        scores.examples("nsubj", 2, 3, direction="up")


def test_labels_name_relations_groups_and_distances() -> None:
    (sentence,) = read_conllu(ROWS.splitlines(), "file")
    labels = {q.word: q.labels for q in dependency_questions([sentence]) if not q.received}
    assert set(labels[1]) == {
        "all", "all but punctuation", "distance 3–5", "nsubj", "subject–verb", "subject–verb, distance 3–5",
    }  # fmt: skip
    assert set(labels[9]) == {"all", "punct"}
    assert "modifier–head" in labels[7]
    assert 4 not in labels  # the root has no governor


def test_long_distance_is_more_than_five_words() -> None:
    rows = "".join(f"{n}\tw\t_\tVERB\t_\t_\t{0 if n == 9 else 9}\tnsubj:pass\t_\t_\n" for n in range(1, 10))
    labels = {q.word: q.labels for q in dependency_questions(list(read_conllu(rows.splitlines(), "f")))}
    assert "long-distance" in labels[2] and "subject–verb, long-distance" in labels[2]
    assert "long-distance" not in labels[3]
    assert {"nsubj", "nsubj:pass"} <= set(labels[0])


def test_halves_are_of_whole_sentences_and_about_even() -> None:
    scores = planted()
    halves = {sentence: set() for sentence in range(120)}
    for sentence, half in zip(scores.sentence, scores.in_first_half, strict=True):
        halves[sentence].add(bool(half))
    assert all(len(each) == 1 for each in halves.values())
    assert sum(each == {True} for each in halves.values()) == 60


@pytest.mark.parametrize(
    ("distance", "band"),
    [(1, "1"), (2, "2"), (3, "3–5"), (5, "3–5"), (6, "6–10"), (10, "6–10"), (11, "over 10"), (30, "over 10")],
)
def test_a_band_holds_the_distances_that_it_names(distance: int, band: str) -> None:
    rows = "".join(f"{n}\tw\t_\tVERB\t_\t_\t{32 if n == 32 - distance else 0}\tobj\t_\t_\n" for n in range(1, 33))
    (question, _) = dependency_questions(list(read_conllu(rows.splitlines(), "f")))
    assert {label for label in question.labels if label.startswith("distance")} == {f"distance {band}"}
