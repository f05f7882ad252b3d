"""Semantic roles: does a head look from a predicate to its arguments, or from an argument to its predicate?

The baselines are the best fixed offset and the best syntactic rule. Roles largely follow syntax, so a head says
something about roles only where it beats the relation that does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attention_analyzer.linguistics.questions import Question
from attention_analyzer.linguistics.scores import Rules
from attention_analyzer.text.annotation import AnnotatedText, Argument

TO_ARGUMENT = "predicate→argument"
TO_PREDICATE = "argument→predicate"
TO_SPAN = "predicate→argument span"
FROM_SPAN = "argument span→predicate"
#: How often a relation must occur between a predicate and its dependents to become a rule.
_RULES = 12


def role_questions(sentences: Sequence[AnnotatedText]) -> list[Question]:
    """Four questions for every argument: to and from its head word, to and from its whole span."""
    questions = []
    for index, sentence in enumerate(sentences):
        for predicate in sentence.predicates:
            for argument in predicate.arguments:
                labels = _labels(argument)
                verb, head = predicate.word, argument.head
                span = tuple(word for word in argument.words if word != verb)
                questions += [
                    Question(index, verb, frozenset({head}), labels, TO_ARGUMENT),
                    Question(index, head, frozenset({verb}), labels, TO_PREDICATE),
                    Question(index, verb, frozenset(span), labels, TO_SPAN),
                    Question(index, head, frozenset({verb}), labels, FROM_SPAN, words=span),
                ]
    return questions


def _labels(argument: Argument) -> tuple[str, ...]:
    """The role, and what it belongs to: "R-ARG0" and "C-ARG0" are ways to say ARG0 again, "ARGM-TMP" is an ARGM."""
    core = argument.role.removeprefix("R-").removeprefix("C-")
    family = ("ARGM-*",) if core.startswith("ARGM") else ()
    return ("all roles", *family, argument.role)


def syntax_rules(sentences: Sequence[AnnotatedText], questions: Sequence[Question]) -> Rules:
    """Rules that only know dependencies: "my governor", and "my first dependent that is an nsubj (obj, …)"."""
    counts: dict[str, int] = {}
    for question in questions:
        sentence = sentences[question.sentence]
        for word in question.answers:
            if sentence.governors and sentence.governors[word] == question.word:
                relation = sentence.relations[word]
                counts[relation] = counts.get(relation, 0) + 1
    relations = sorted(counts, key=lambda name: -counts[name])[:_RULES]
    correct = np.zeros((len(questions), 1 + len(relations)), dtype=bool)
    for row, question in enumerate(questions):
        sentence = sentences[question.sentence]
        if not sentence.governors:
            continue
        correct[row, 0] = sentence.governors[question.word] in question.answers
        first: dict[str, int] = {}
        for child in sentence.children[question.word]:
            first.setdefault(sentence.relations[child], child)
        for column, relation in enumerate(relations, start=1):
            correct[row, column] = first.get(relation) in question.answers
    return Rules(("governor", *relations), correct)
