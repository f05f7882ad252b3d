"""Relations of one's own: pairs of words, or of tokens where there is no model, asked of every head like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError
from attention_analyzer.linguistics.questions import Answers, Question, _Form, _is_seen, _membership
from attention_analyzer.text.annotation import AnnotatedText, WordPair, words_of_tokens

#: ``(from, to, relation)`` in tokens; either side may be several.
TokenPair = tuple[int | Sequence[int], int | Sequence[int], str]
#: The pairs of one record: annotated text, pairs of tokens, an array ``[pair, 2]``, or a function of the record.
PairsOfRecord = AnnotatedText | Iterable[TokenPair] | Any
#: What an array's pairs are called.
UNNAMED = "pair"


def pair_questions(sentences: Sequence[AnnotatedText]) -> list[Question]:
    """For every pair two questions: which word the one side looks at most, and the other."""
    questions = []
    for number, sentence in enumerate(sentences):
        for pair in sentence.pairs:
            for own, other, direction in ((pair.start, pair.end, "from→to"), (pair.end, pair.start, "to→from")):
                answers = frozenset(other) - frozenset(own)
                if answers:
                    questions.append(Question(number, own[0], answers, (pair.relation,), direction, words=own))
    return questions


def asked_of_records(
    records: Sequence[CapturedAttention],
    pairs: Sequence[PairsOfRecord] | Callable[[CapturedAttention], PairsOfRecord],
) -> tuple[list[AnnotatedText], list[Question], Answers]:
    """The answers of records, which need no model.

    Raises:
        InputError: pairs lie outside of a record, or there are others than the records have.
    """
    given = [pairs(record) for record in records] if callable(pairs) else list(pairs)
    if not records or len(given) != len(records):
        raise InputError(f"{len(records)} records and the pairs of {len(given)} were given; give one entry a record.")
    sentences, owners = [], []
    for number, (record, found) in enumerate(zip(records, given, strict=True)):
        sentence, owner = _sentence(record, found, number)
        sentences.append(sentence)
        owners.append(owner)
    questions = pair_questions(sentences)
    if not questions:
        raise InputError("There is no pair of two different words; give at least one.")
    sites = [entry.site for entry in records[0].entries if entry.diagonal == 0]
    heads = tuple((site, head) for site in sites for head in range(site.heads))
    words = np.full((len(questions), len(heads)), -1, dtype=np.int16)
    seen = np.zeros(len(questions), dtype=bool)
    for number, record in enumerate(records):
        if [entry.site for entry in record.entries if entry.diagonal == 0] != sites or not sites:
            raise InputError(
                "The records are of different models, or have no self-attention; score one model's at a time."
            )
        asked = [index for index, question in enumerate(questions) if question.sentence == number]
        if not asked:
            continue
        size = len(sentences[number])
        sums = _membership(owners[number], size)
        means = sums / sums.sum(1, keepdim=True).clamp(min=1)
        form = _Form([questions[index] for index in asked], size)
        looked = [
            form.answer(means @ (torch.as_tensor(entry.weights.full()).float().cpu() @ sums.T)).numpy()
            for entry in record.entries
            if entry.diagonal == 0
        ]
        words[asked] = np.concatenate(looked, axis=1)
        present = {word for word in owners[number] if word is not None}
        seen[asked] = [_is_seen(questions[index], present) for index in asked]
    return sentences, questions, Answers(heads, words, seen)


def _sentence(
    record: CapturedAttention, found: PairsOfRecord, number: int
) -> tuple[AnnotatedText, Sequence[int | None]]:
    """A record's pairs as an annotated text, and the word of each token."""
    if isinstance(found, AnnotatedText):
        if found.text not in record.tokens.texts:
            raise InputError(f"Record {number} is of another text than its pairs, {found.text[:40]!r}.")
        return found, words_of_tokens(record.tokens, found.spans, record.tokens.texts.index(found.text))
    size = len(record.tokens)
    pieces = [piece.strip() or piece for piece in record.tokens.pieces]
    starts = np.cumsum([0, *(len(piece) + 1 for piece in pieces)]).tolist()
    spans = tuple((start, start + len(piece)) for start, piece in zip(starts, pieces, strict=False))
    pairs = []
    for each in found:
        parts = list(each)
        if len(parts) not in (2, 3):
            raise InputError(f"Record {number} has the pair {parts!r}; a pair is (from, to) or (from, to, relation).")
        relation = parts[2] if len(parts) == 3 else UNNAMED
        sides = tuple(_positions(part, size, number) for part in parts[:2])
        if not isinstance(relation, str) or not relation.strip():
            raise InputError(f"Record {number} has a pair without a relation's name; name it, such as 'subject'.")
        pairs.append(WordPair(relation, *sides))
    return AnnotatedText(" ".join(pieces), spans, pairs=tuple(pairs)), list(range(size))


def _positions(part: Any, size: int, record: int) -> tuple[int, ...]:
    numbers = tuple(int(each) for each in np.atleast_1d(np.asarray(part)))
    if not numbers or not all(0 <= each < size for each in numbers):
        raise InputError(
            f"A pair of record {record} has the position {part!r}, but its text has {size} tokens, from 0."
        )
    return numbers
