"""From annotated files to tables, with a real encoder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.errors import FileFormatError, InputError, SelectionError
from attention_analyzer.linguistics.combination import CombinationProbe
from attention_analyzer.linguistics.coreference import coreference_questions, head_word, mention_kind, nearest_rules
from attention_analyzer.linguistics.relations import read_annotated
from attention_analyzer.linguistics.roles import role_questions, syntax_rules
from attention_analyzer.text.annotation import AnnotatedText, Argument, Mention, Predicate
from attention_analyzer.text.conll2012 import read_conll2012
from attention_analyzer.text.conllu import read_conllu
from tests.linguistics.treebank import ROWS, treebank

COREFERENCE = """\
d\t0\t0\tAnna\tNNP\t(1)
d\t0\t1\tsaw\tVBD\t_
d\t0\t2\tthe\tDT\t(2
d\t0\t3\tdog\tNN\t_
d\t0\t4\tof\tIN\t_
d\t0\t5\tBob\tNNP\t(3)|2)
d\t0\t6\tand\tCC\t_
d\t0\t7\tshe\tPRP\t(1)
d\t0\t8\tliked\tVBD\t_
d\t0\t9\tthe\tDT\t(2
d\t0\t10\tdog\tNN\t2)
"""


@pytest.fixture(scope="module")
def analyzer() -> AttentionAnalyzer:
    return AttentionAnalyzer("all-MiniLM-L6-v2", cache=False)


def test_an_encoder_on_a_treebank(analyzer: AttentionAnalyzer, tmp_path: Path) -> None:
    path = tmp_path / "small.conllu"
    path.write_text(treebank(60), encoding="utf-8")
    steps = []
    found = analyzer.relations(path, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (60, 60)
    assert found.sentences == 60
    assert list(found.tasks) == ["dependencies"]
    table = found.table().set_index("label")
    # What this encoder is known for: L2H8 looks from modifiers to their nouns, L2H0 from objects to verbs.
    scores = found["dependencies"]
    heads = scores.head_table("det", "dependent→governor").set_index(["layer", "head"])
    assert heads.loc[(2, 8), "accuracy"] > 0.75
    heads = scores.head_table("obj", "dependent→governor").set_index(["layer", "head"])
    assert heads.loc[(2, 0), "accuracy"] > 0.75
    assert table.loc["obj", "baseline"] == 1
    assert found.combination is not None
    assert found.combination.uas > 0.9
    with pytest.raises(SelectionError, match="no scores of 'roles'; the annotation has: dependencies"):
        found["roles"]


def test_roles_and_spans(analyzer: AttentionAnalyzer) -> None:
    sentences = list(read_conllu(ROWS.splitlines(), "file"))
    questions = role_questions(sentences)
    by_direction = {q.direction: q for q in questions if "ARG1" in q.labels}
    assert by_direction["predicate→argument"].answers == {8}
    assert by_direction["predicate→argument span"].answers == {5, 6, 7, 8}
    assert by_direction["argument span→predicate"].asking == (5, 6, 7, 8)
    assert by_direction["argument→predicate"].word == 8
    negation = next(q for q in questions if "ARGM-NEG" in q.labels)
    assert set(negation.labels) == {"all roles", "ARGM-*", "ARGM-NEG"}
    rules = syntax_rules(sentences, questions)
    row = questions.index(by_direction["predicate→argument"])
    assert dict(zip(rules.names, rules.correct[row], strict=True))["obj"]
    assert not dict(zip(rules.names, rules.correct[row], strict=True))["nsubj"]
    row = questions.index(by_direction["argument→predicate"])
    assert dict(zip(rules.names, rules.correct[row], strict=True))["governor"]
    found = analyzer.relations(sentences, tasks=["roles"])
    table = found.table(fewest=1)
    assert set(table["label"]) == {"all roles", "ARG0", "ARG1", "ARGM-NEG", "ARGM-*"}
    assert {"offset", "offset_rule", "syntax", "syntax_rule"} <= set(table.columns)


def test_coreference_among_earlier_mentions(analyzer: AttentionAnalyzer) -> None:
    (text,) = read_conll2012(COREFERENCE.splitlines(), "d")
    assert [head_word(text, mention) for mention in text.mentions] == [0, 3, 5, 7, 10]
    kinds = [mention_kind(text, mention) for mention in text.mentions]
    assert kinds == ["proper", "nominal", "proper", "pronoun", "nominal"]
    questions = coreference_questions([text])
    assert [(q.word, q.answers, q.candidates, q.received) for q in questions] == [
        (7, {0}, (0, 3, 5), False),
        (7, {0}, (0, 3, 5), True),
        (10, {3}, (0, 3, 5, 7), False),
        (10, {3}, (0, 3, 5, 7), True),
    ]
    rules = nearest_rules([text], questions)
    # "she": Bob is nearest, no mention has the same word or kind. "dog": "she" is nearest, "dog" was there before.
    assert rules.correct.tolist() == [[False] * 3, [False] * 3, [False, True, True], [False, True, True]]
    found = analyzer.relations([text])
    assert list(found.tasks) == ["coreference"]
    answers = found["coreference"].answers.words
    assert set(np.unique(answers[2])) <= {0, 3, 5, 7}


def test_the_combination_uses_what_is_planted_and_nothing_else() -> None:
    sentences = list(read_conllu(treebank(40).splitlines(), "file"))
    rng = np.random.default_rng(0)
    probe, blind = CombinationProbe(sentences), CombinationProbe(sentences)
    for index, sentence in enumerate(sentences):
        size = len(sentence)
        noise = torch.from_numpy(rng.random((4, size, size))).float()
        blind.show(index, [noise[:2], noise[2:]])
        # One head looks from governors to dependents: the probe has to turn it round.
        for word, governor in enumerate(sentence.governors):
            if governor is not None:
                noise[3, governor, word] += 0.9
        probe.show(index, [noise[:2], noise[2:]])
    best, chance = probe.result(), blind.result()
    assert best is not None and chance is not None
    assert best.uas > 0.85
    assert best.low < best.uas < best.high
    assert chance.uas < 0.35
    assert best.control == chance.control
    # Positions find much, but not whether an adjective comes between.
    assert 0.6 < best.control < 0.95
    assert best.dependents == sum(governor is not None for s in sentences for governor in s.governors)


def test_choices_and_errors(analyzer: AttentionAnalyzer, tmp_path: Path) -> None:
    path = tmp_path / "small.conllu"
    path.write_text(treebank(10), encoding="utf-8")
    assert analyzer.relations(path, min_words=7, combine=False).sentences == 5
    assert analyzer.relations(path, max_words=6, limit=3, combine=False).sentences == 3
    with pytest.raises(InputError, match="they have no annotation of roles"):
        analyzer.relations(path, tasks=["roles"])
    with pytest.raises(InputError, match="There is no task 'syntax'"):
        analyzer.relations(path, tasks=["syntax"])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        analyzer.relations(tmp_path / "missing.conllu")
    with pytest.raises(InputError, match=r"suffix '\.txt'"):
        analyzer.relations(tmp_path / "text.txt")
    path.write_text(treebank(3).replace("\t3\tnsubj", "\t33\tnsubj"), encoding="utf-8")
    with pytest.raises(FileFormatError, match=r"small.conllu, line 3: the governor is word 33"):
        analyzer.relations(path)
    path.write_bytes(b"1\t\xff\xfe")
    with pytest.raises(FileFormatError, match="not UTF-8"):
        analyzer.relations(path)


def test_treebanks_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "small.conllu"
    plain = treebank(2).replace("dog", "Dög")
    for encoding, asked in (("utf-8-sig", None), ("utf-16", None), ("cp1252", "cp1252")):
        path.write_bytes(plain.replace("\n", "\r\n").encode(encoding))
        assert "Dög" in " ".join(sentence.text for sentence in read_annotated(path, asked))
    with pytest.raises(FileFormatError, match=r"Dög.*set the encoding cp1252"):
        list(read_annotated(path))


def words_of(text: str) -> dict[str, object]:
    spans = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    return {"text": text, "spans": tuple(spans)}


def test_a_rule_of_syntax_names_the_first_of_several_dependents() -> None:
    # "said" governs two objects; only the first is the argument.
    sentence = AnnotatedText(
        **words_of("Anna said yes yesterday"),
        governors=(1, None, 1, 1),
        relations=("nsubj", "root", "obj", "obj"),
        predicates=(Predicate(1, "say.01", (Argument("ARG0", (0,), 0), Argument("ARG1", (2,), 2))),),
    )
    questions = role_questions([sentence])
    rules = syntax_rules([sentence], questions)
    asked = next(row for row, q in enumerate(questions) if q.direction == "predicate→argument" and q.answers == {2})
    assert dict(zip(rules.names, rules.correct[asked], strict=True)) == {"governor": False, "nsubj": False, "obj": True}


def test_rules_of_syntax_are_the_most_frequent_relations() -> None:
    # Thirteen relations between predicates and arguments; the one that occurs once among twos is left out.
    names = [f"r{number}" for number in range(13)]
    sentences = [
        AnnotatedText(
            **words_of("a b"),
            governors=(None, 0),
            relations=("root", name),
            predicates=(Predicate(0, "p.01", (Argument("ARG0", (1,), 1),)),),
        )
        for name in ["r0", *names[1:], *names[1:]]
    ]
    rules = syntax_rules(sentences, role_questions(sentences))
    assert rules.names == ("governor", *names[1:])


def test_of_two_mentions_with_one_head_the_longer_stands_for_both() -> None:
    text = AnnotatedText(
        **words_of("the old king Bob ; those of us ; Bob"),
        mentions=(Mention("x", 3, 4), Mention("king", 0, 4), Mention("us", 5, 8), Mention("king", 9, 10)),
    )
    (towards, _) = coreference_questions([text])
    assert (towards.word, towards.answers, towards.candidates) == (9, {3}, (3, 5))
    # Only a pronoun alone is one: "those of us" is described.
    assert mention_kind(text, Mention("us", 5, 8)) == "nominal"
    assert mention_kind(text, Mention("us", 5, 6)) == "pronoun"
