"""Coreference: among all earlier mentions, does a head look from a mention to one of the same entity?

Clark et al. 2019, §4.3: antecedent accuracy, of mentions that have an antecedent, by the words that stand for the
mentions. Baselines choose the nearest earlier mention, the nearest one of the same words, or of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attention_analyzer.linguistics.questions import Question
from attention_analyzer.linguistics.scores import Rules
from attention_analyzer.text.annotation import AnnotatedText, Mention

TO_ANTECEDENT = "mention→antecedent"
FROM_ANTECEDENT = "antecedent→mention"

_PRONOUNS = frozenset(
    "i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself we "
    "us our ours ourselves they them their theirs themselves who whom whose which that this these those one".split()
)
_POSTMODIFIERS = frozenset("of in on at from with who which that whom whose to for by , -- ;".split())


def head_word(text: AnnotatedText, mention: Mention) -> int:
    """The word that stands for a mention: by dependencies if there are any, else the last before a postmodifier."""
    words = range(mention.start, mention.stop)
    if text.governors:
        for word in words:
            if text.governors[word] not in words:
                return word
    for word in words:
        if word > mention.start and text.words[word].lower() in _POSTMODIFIERS:
            return word - 1
    return mention.stop - 1


def mention_kind(text: AnnotatedText, mention: Mention) -> str:
    """Whether a mention is "pronoun", "proper" or "nominal" (by capitals where there are no parts of speech)."""
    head = head_word(text, mention)
    word = text.words[head]
    if word.lower() in _PRONOUNS and mention.stop - mention.start == 1:
        return "pronoun"
    if text.parts_of_speech and text.parts_of_speech[head] not in ("", "_"):
        return "proper" if text.parts_of_speech[head] in ("PROPN", "NNP", "NNPS") else "nominal"
    return "proper" if word[:1].isupper() else "nominal"


def coreference_questions(texts: Sequence[AnnotatedText]) -> list[Question]:
    """Two questions for every mention with an antecedent in the same text, one per direction.

    A mention that shares its head word with another one (a name inside a title) is one with the longer of the two.
    """
    questions = []
    for index, text in enumerate(texts):
        mentions = _by_head(text)
        for number, (head, mention) in enumerate(mentions):
            earlier = mentions[:number]
            same = frozenset(word for word, other in earlier if other.entity == mention.entity)
            if same:
                candidates = tuple(word for word, _ in earlier)
                labels = ("all mentions", mention_kind(text, mention))
                for received, direction in ((False, TO_ANTECEDENT), (True, FROM_ANTECEDENT)):
                    questions.append(Question(index, head, same, labels, direction, received, candidates=candidates))
    return questions


def nearest_rules(texts: Sequence[AnnotatedText], questions: Sequence[Question]) -> Rules:
    """The nearest earlier mention; of the same head word if there is one; of the same kind if there is one."""
    kinds = [{head: mention_kind(text, mention) for head, mention in _by_head(text)} for text in texts]
    correct = np.zeros((len(questions), 3), dtype=bool)
    for row, question in enumerate(questions):
        text, kind = texts[question.sentence], kinds[question.sentence]
        word = text.words[question.word].lower()
        earlier = sorted(question.candidates or (), reverse=True)
        same_word = next((other for other in earlier if text.words[other].lower() == word), earlier[0])
        same_kind = next((other for other in earlier if kind[other] == kind[question.word]), earlier[0])
        for column, chosen in enumerate((earlier[0], same_word, same_kind)):
            correct[row, column] = chosen in question.answers
    return Rules(("nearest mention", "nearest with the same word", "nearest of the same kind"), correct)


def _by_head(text: AnnotatedText) -> list[tuple[int, Mention]]:
    """Mentions by the word that stands for them, in the order of these words."""
    longest: dict[int, Mention] = {}
    for mention in text.mentions:
        head = head_word(text, mention)
        if head not in longest or mention.stop - mention.start > longest[head].stop - longest[head].start:
            longest[head] = mention
    return sorted(longest.items())
