from __future__ import annotations

import pytest

from attention_analyzer.errors import InputError
from attention_analyzer.linguistics.pipelines import annotate_with_spacy, from_stanza


def test_sentences_of_a_spacy_pipeline() -> None:
    spacy = pytest.importorskip("spacy")

    @spacy.language.Language.component("planted_parser")
    def parse(document):
        governors = [1, 1, 1, 1, 5, 5]
        return spacy.tokens.Doc(
            document.vocab,
            words=[token.text for token in document],
            spaces=[bool(token.whitespace_) for token in document],
            heads=governors,
            deps="nsubj ROOT obj punct nsubj ROOT".split(),
            pos=["X"] * 6,
        )

    pipeline = spacy.blank("en")
    with pytest.raises(InputError, match="gives no dependencies"):
        list(annotate_with_spacy(pipeline, ["Dogs chase cats."]))
    pipeline.add_pipe("planted_parser")
    first, second = annotate_with_spacy(pipeline, ["Dogs chase cats. Birds sing"])
    assert (first.text, second.text) == ("Dogs chase cats.", "Birds sing")
    assert first.words == ("Dogs", "chase", "cats", ".")
    assert first.governors == (1, None, 1, 1)
    assert second.governors == (1, None)
    assert second.words == ("Birds", "sing")
    assert first.relations == ("nsubj", "ROOT", "obj", "punct")
    with pytest.raises(InputError, match="no spaCy pipeline 'en_core_nothing'"):
        list(annotate_with_spacy("en_core_nothing", ["x"]))


def test_sentences_of_a_stanza_document() -> None:
    # What Document.to_dict() gives: a list of words per sentence; a range row has the characters of its words.
    text = "He didn't go. Yes"
    words = [
        {"id": 1, "text": "He", "upos": "PRON", "head": 4, "deprel": "nsubj", "start_char": 0, "end_char": 2},
        {"id": (2, 3), "text": "didn't", "start_char": 3, "end_char": 9},
        {"id": 2, "text": "did", "upos": "AUX", "head": 4, "deprel": "aux"},
        {"id": 3, "text": "n't", "upos": "PART", "head": 4, "deprel": "advmod"},
        {"id": 4, "text": "go", "upos": "VERB", "head": 0, "deprel": "root", "start_char": 10, "end_char": 12},
        {"id": 5, "text": ".", "upos": "PUNCT", "head": 4, "deprel": "punct", "start_char": 12, "end_char": 13},
    ]
    yes = {"id": 1, "text": "Yes", "upos": "INTJ", "head": 0, "deprel": "root", "start_char": 14, "end_char": 17}
    first, second = from_stanza([words, [yes]], text)
    assert first.text == "He didn't go."
    assert first.words == ("He", "did", "n't", "go", ".")
    assert first.spans == ((0, 2), (3, 9), (3, 9), (10, 12), (12, 13))
    assert first.governors == (3, 3, 3, None, 3)
    assert (second.text, second.spans, second.governors) == ("Yes", ((0, 3),), (None,))
    del words[0]["head"]
    with pytest.raises(InputError, match="gives no dependencies"):
        list(from_stanza([words], text))
