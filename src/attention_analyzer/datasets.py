"""Texts from files: annotated sentences (CoNLL-U, CoNLL-2012, spaCy, Stanza), and readers of files with many texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.linguistics import read_annotated
    from attention_analyzer.linguistics.pipelines import annotate_with_spacy, annotate_with_stanza
    from attention_analyzer.text.annotation import AnnotatedText, Argument, Mention, Predicate, WordPair
    from attention_analyzer.text.conll2012 import read_conll2012
    from attention_analyzer.text.conllu import read_conllu
    from attention_analyzer.text.readers import READERS, BadRow, Reader, ReadOptions, Row, read_source, sources

__all__ = [
    "READERS",
    "AnnotatedText",
    "Argument",
    "BadRow",
    "Mention",
    "Predicate",
    "ReadOptions",
    "Reader",
    "Row",
    "WordPair",
    "annotate_with_spacy",
    "annotate_with_stanza",
    "read_annotated",
    "read_conll2012",
    "read_conllu",
    "read_source",
    "sources",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "READERS": "attention_analyzer.text.readers",
        "AnnotatedText": "attention_analyzer.text.annotation",
        "WordPair": "attention_analyzer.text.annotation",
        "Argument": "attention_analyzer.text.annotation",
        "BadRow": "attention_analyzer.text.readers",
        "Mention": "attention_analyzer.text.annotation",
        "Predicate": "attention_analyzer.text.annotation",
        "ReadOptions": "attention_analyzer.text.readers",
        "Reader": "attention_analyzer.text.readers",
        "Row": "attention_analyzer.text.readers",
        "annotate_with_spacy": "attention_analyzer.linguistics.pipelines",
        "annotate_with_stanza": "attention_analyzer.linguistics.pipelines",
        "read_annotated": "attention_analyzer.linguistics",
        "read_conll2012": "attention_analyzer.text.conll2012",
        "read_conllu": "attention_analyzer.text.conllu",
        "read_source": "attention_analyzer.text.readers",
        "sources": "attention_analyzer.text.readers",
    },
)
