"""Annotated files: what is read, and that what is malformed is named with its line and the reason."""

from __future__ import annotations

import pytest

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.text.conll2012 import read_conll2012
from attention_analyzer.text.conllu import read_conllu
from attention_analyzer.text.tokens import Tokens
from tests.linguistics.treebank import ROWS

PLAIN = "1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n2\ton\ton\tADV\t_\t_\t1\tadvmod\t_\t_\n"


def one(text: str) -> AnnotatedText:
    (sentence,) = read_conllu(text.splitlines(), "file")
    return sentence


def test_a_sentence_with_everything() -> None:
    sentence = one(ROWS)
    assert sentence.text == "The dog didn't chase a very big cat."
    assert sentence.words == ("The", "dog", "did", "n't", "chase", "a", "very", "big", "cat", ".")
    assert [sentence.text[slice(*span)] for span in sentence.spans] == list(sentence.words)
    assert sentence.governors == (1, 4, 4, 4, None, 8, 7, 8, 4, 4)
    assert sentence.relations[:3] == ("det", "nsubj", "aux")
    assert sentence.name == "one"
    assert sentence.line == 3
    (chase,) = sentence.predicates
    assert (chase.word, chase.sense) == (4, "chase.01")
    assert [(a.role, a.head, a.words) for a in chase.arguments] == [
        ("ARG0", 1, (0, 1)),
        ("ARGM-NEG", 3, (3,)),
        ("ARG1", 8, (5, 6, 7, 8)),
    ]


def test_spaced_words_do_not_touch() -> None:
    spaced = one(ROWS).spaced()
    assert spaced.text == "The dog did n't chase a very big cat ."
    assert [spaced.text[slice(*span)] for span in spaced.spans] == list(spaced.words)
    assert spaced.governors == one(ROWS).governors


def test_words_that_are_written_as_one_without_being_parts_of_it() -> None:
    rows = (
        "1-2\tim\t_\t_\t_\t_\t_\t_\t_\t_\n1\tin\tin\tADP\t_\t_\t3\tcase\t_\t_\n2\tdem\tder\tDET\t_\t_\t3\tdet\t_\t_\n"
    )
    sentence = one(rows + "3\tHaus\tHaus\tNOUN\t_\t_\t0\troot\t_\t_\n")
    assert sentence.text == "im Haus"
    assert sentence.spans == ((0, 2), (0, 2), (3, 7))
    assert sentence.words == ("in", "dem", "Haus")
    assert sentence.spaced().text == "in dem Haus"


def test_empty_nodes_comments_and_missing_annotation() -> None:
    nothing = "\t_" * 7
    sentence = one(f"# newdoc\n1\tGo{nothing}\tSpaceAfter=No\n1.1\tX{nothing}\t_\n2\t!{nothing}\t_")
    assert sentence.text == "Go!"
    assert sentence.governors == ()
    assert sentence.predicates == ()


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        (PLAIN.replace("\t_\n2", "\n2"), 1, "10 columns divided by tabs were expected, 9 were met"),
        (PLAIN.replace("\t", " "), 1, "divided by spaces"),
        (PLAIN.replace("2\ton", "3\ton"), 2, "word 2 was expected, but the number is 3"),
        (PLAIN.replace("2\ton", "x\ton"), 2, "'x' is no word number"),
        (PLAIN.replace("_\t1\tadv", "_\t7\tadv"), 2, "the governor is word 7, but the sentence has 2 words"),
        (PLAIN.replace("_\t1\tadv", "_\t2\tadv"), 2, "its own governor"),
        (PLAIN.replace("_\t1\tadv", "_\tup\tadv"), 2, "the governor 'up' is no word number"),
        (PLAIN.replace("_\t0\troot", "_\t2\troot"), 1, "run in a circle"),
        (PLAIN.replace("\ton\t", "\t\t"), 2, "the word is empty"),
        ("# text = Go off\n" + PLAIN, 2, "'on', does not match the text, which continues with 'off'"),
        ("# text = Go on and on\n" + PLAIN, 2, "continues after its last word"),
        (PLAIN + "3-4\tx\t_\t_\t_\t_\t_\t_\t_\t_\n", 3, "a range goes up to word 4"),
        (ROWS.replace("\t_\tARGM-NEG", "\tARGM-NEG"), 7, "11 columns, but 12 in the sentence's first line"),
        (ROWS.replace("chase.01", "_"), 3, "0 predicates have a sense, but there are 1 columns of roles"),
    ],
)
def test_malformed_annotation_gives_line_and_reason(rows: str, line: int, reason: str) -> None:
    with pytest.raises(FileFormatError, match=f"^treebank, line {line}: ") as met:
        list(read_conllu(rows.splitlines(keepends=True), "treebank"))
    assert reason in str(met.value)


COREFERENCE = """\
#begin document (d); part 000
d 0 0 Anna NNP - - - - - (1)
d 0 1 saw VBD - - - - - -
d 0 2 the DT - - - - - (2
d 0 3 dog NN - - - - - -
d 0 4 of IN - - - - - -
d 0 5 Bob NNP - - - - - (3)|2)

d 0 0 She PRP - - - - - (1)
d 0 1 liked VBD - - - - - -
d 0 2 it PRP - - - - - (2)

#end document
"""


def test_coreference_is_read_in_passages() -> None:
    (whole,) = read_conll2012(COREFERENCE.splitlines(), "d")
    assert whole.text == "Anna saw the dog of Bob She liked it"
    found = [(m.entity, whole.words[m.start : m.stop]) for m in whole.mentions]
    assert found == [
        ("1", ("Anna",)),
        ("2", ("the", "dog", "of", "Bob")),
        ("3", ("Bob",)),
        ("1", ("She",)),
        ("2", ("it",)),
    ]
    first, second = read_conll2012(COREFERENCE.splitlines(), "d", longest=6)
    assert (first.text, second.text) == ("Anna saw the dog of Bob", "She liked it")
    assert [(m.start, m.stop) for m in second.mentions] == [(0, 1), (2, 3)]
    assert (first.line, second.line) == (2, 9)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("(3)|2)", "(3)", 4, "mention 2 is opened, but not closed"),
        ("(3)|2)", "(3)|2)|9)", 7, "mention 9 is closed, but was not opened"),
        ("(3)|2)", "(3)|2", 7, "'2' opens or closes no mention"),
        ("d 0 1 saw VBD - - - - - -", "d 0 saw", 3, "at least 5 columns were expected, 3 were met"),
    ],
)
def test_malformed_coreference_gives_line_and_reason(old: str, new: str, line: int, reason: str) -> None:
    with pytest.raises(FileFormatError, match=f"^d, line {line}: ") as met:
        list(read_conll2012(COREFERENCE.replace(old, new).splitlines(), "d"))
    assert reason in str(met.value)


def test_a_token_belongs_to_the_word_it_shares_most_characters_with() -> None:
    #        do n't  |  tokens: don ' t
    tokens = Tokens(
        ("[S]", "don", "'", "t", "go"), spans=(None, (0, 3), (3, 4), (4, 5), (6, 8)), is_special=(True,) + (False,) * 4
    )
    assert words_of_tokens(tokens, [(0, 2), (2, 5), (6, 8)]) == (None, 0, 1, 1, 2)
    # A byte-level token that starts with the space before its word, and one that is nothing but space.
    tokens = Tokens(("a", " b", " "), spans=((0, 1), (1, 3), (3, 4)))
    assert words_of_tokens(tokens, [(0, 1), (2, 3)]) == (0, 1, None)
