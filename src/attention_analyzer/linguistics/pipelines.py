"""Annotation from a pipeline the user already has: spaCy, or Stanza."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attention_analyzer.errors import InputError, MissingDependencyError
from attention_analyzer.text.annotation import AnnotatedText


def annotate_with_spacy(pipeline: Any, texts: Iterable[str]) -> Iterator[AnnotatedText]:
    """Sentences of texts, as a spaCy pipeline divides and parses them.

    Args:
        pipeline: a loaded pipeline (``spacy.load("en_core_web_sm")``) or its name. It needs a parser.

    Raises:
        MissingDependencyError: spaCy is not installed and a name was given.
        InputError: there is no such pipeline, or it has no parser.
    """
    if isinstance(pipeline, str):
        try:
            import spacy
        except ImportError:
            raise MissingDependencyError("spacy", "nlp", "Annotation by a spaCy pipeline") from None
        try:
            pipeline = spacy.load(pipeline)
        except OSError:
            raise InputError(
                f"There is no spaCy pipeline {pipeline!r} here; python -m spacy download {pipeline} gets it."
            ) from None
    for number, document in enumerate(pipeline.pipe(texts)):
        if not document.has_annotation("DEP"):
            raise InputError(
                f"The spaCy pipeline gives no dependencies (it has: {', '.join(pipeline.pipe_names) or 'nothing'}); "
                "one with a parser is needed, such as en_core_web_sm."
            )
        for sentence in document.sents:
            yield from _spacy_sentence(sentence, f"text {number}")


def _spacy_sentence(sentence: Any, source: str) -> Iterator[AnnotatedText]:
    words = [token for token in sentence if not token.is_space]
    if not words:
        return
    place = {token.i: index for index, token in enumerate(words)}
    governors = tuple(
        # spaCy's roots are their own heads.
        place.get(token.head.i) if token.head.i != token.i else None
        for token in words
    )
    yield AnnotatedText(
        text=sentence.text,
        spans=tuple((t.idx - sentence.start_char, t.idx - sentence.start_char + len(t.text)) for t in words),
        parts_of_speech=tuple(token.pos_ for token in words),
        governors=governors,
        relations=tuple(token.dep_ for token in words),
        source=source,
    )


def annotate_with_stanza(pipeline: Any, texts: Iterable[str]) -> Iterator[AnnotatedText]:
    """Sentences of texts, as a Stanza pipeline (``stanza.Pipeline("en")``) divides and parses them.

    Raises:
        InputError: the pipeline gives no dependencies.
    """
    for number, text in enumerate(texts):
        yield from from_stanza(pipeline(text).to_dict(), text, f"text {number}")


def from_stanza(
    sentences: Sequence[Sequence[Mapping[str, Any]]], text: str, source: str = ""
) -> Iterator[AnnotatedText]:
    """Sentences of what ``Document.to_dict()`` of Stanza gives for a text.

    Raises:
        InputError: a word has no governor.
    """
    for rows in sentences:
        # A range row ("don't", id (1, 2)) has the characters of the words that follow it.
        shared = {
            number: (row["start_char"], row["end_char"])
            for row in rows
            if isinstance(row["id"], (tuple, list)) and len(row["id"]) > 1
            for number in range(row["id"][0], row["id"][-1] + 1)
        }
        words = [row for row in rows if not isinstance(row["id"], (tuple, list)) or len(row["id"]) == 1]
        if any("head" not in word for word in words):
            raise InputError("The Stanza pipeline gives no dependencies; it needs the processors pos, lemma, depparse.")
        spans = [
            (word["start_char"], word["end_char"]) if "start_char" in word else shared[_number(word)] for word in words
        ]
        start, stop = spans[0][0], spans[-1][1]
        yield AnnotatedText(
            text=text[start:stop],
            spans=tuple((first - start, last - start) for first, last in spans),
            forms=tuple(word["text"] for word in words),
            parts_of_speech=tuple(word.get("upos", "") for word in words),
            governors=tuple(int(word["head"]) - 1 if int(word["head"]) else None for word in words),
            relations=tuple(word.get("deprel", "") for word in words),
            source=source,
        )


def _number(word: Mapping[str, Any]) -> int:
    return int(word["id"][0] if isinstance(word["id"], (tuple, list)) else word["id"])
