"""Dependencies: does a head look from a dependent to its governor, or from a governor to its dependent?

Clark et al. 2019, §4.2: for every dependent, the head's answer is the other word it looks at most, or the other word
that looks at *it* most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attention_analyzer.linguistics.questions import Question
from attention_analyzer.text.annotation import AnnotatedText

TO_GOVERNOR = "dependent→governor"
TO_DEPENDENT = "governor→dependent"

#: Relations (Universal Dependencies, subtypes included) that are reported under one name.
GROUPS: dict[str, frozenset[str]] = {
    "subject–verb": frozenset({"nsubj", "csubj"}),
    "object–verb": frozenset({"obj", "iobj", "dobj"}),
    "modifier–head": frozenset({"amod", "advmod", "nummod", "nmod", "acl", "advcl", "appos", "nn", "poss"}),
    "function word–head": frozenset({"det", "case", "aux", "cop", "mark", "cc", "clf"}),
}
#: Subjects of nouns and adjectives ("she is a doctor") have no verb as their governor.
_VERBS = frozenset({"VERB", "AUX", ""})
#: Largest distance of each band, in words, and its name. What is farther than 5 words is long-distance.
_BANDS = ((1, "1"), (2, "2"), (5, "3–5"), (10, "6–10"), (10**9, "over 10"))
_LONG = 6


def dependency_questions(sentences: Sequence[AnnotatedText]) -> list[Question]:
    """Two questions for every dependent, one per direction. Roots have no governor in the sentence and ask nothing."""
    questions = []
    for index, sentence in enumerate(sentences):
        for word, governor in enumerate(sentence.governors):
            if governor is not None:
                labels = tuple(_labels(sentence, word, governor))
                for received, direction in ((False, TO_GOVERNOR), (True, TO_DEPENDENT)):
                    questions.append(Question(index, word, frozenset({governor}), labels, direction, received))
    return questions


def _labels(sentence: AnnotatedText, word: int, governor: int) -> Iterator[str]:
    whole = sentence.relations[word] if sentence.relations else ""
    relation = whole.partition(":")[0]
    distance = abs(word - governor)
    band = next(name for limit, name in _BANDS if distance <= limit)
    yield "all"
    if relation != "punct":
        yield "all but punctuation"
        yield f"distance {band}"
        if distance >= _LONG:
            yield "long-distance"
    if whole not in ("", "_"):
        yield relation
    if whole != relation:
        yield whole
    pos = sentence.parts_of_speech[governor] if sentence.parts_of_speech else ""
    for name, members in GROUPS.items():
        if relation in members and (name != "subject–verb" or pos in _VERBS):
            yield name
            yield f"{name}, distance {band}"
            if distance >= _LONG:
                yield f"{name}, long-distance"
