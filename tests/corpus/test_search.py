"""Where heads look from X to Y, held against loops over the records' own matrices."""

from __future__ import annotations

from pathlib import Path

import pytest

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Corpus, chunks
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.text.annotation import words_of_tokens
from attention_analyzer.text.conllu import read_conllu
from tests.linguistics.treebank import treebank

COUNT = 8


@pytest.fixture(scope="module")
def corpus(small: AttentionAnalyzer, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("search")
    (folder / "bank.conllu").write_text(treebank(COUNT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_TEXTS", 3)
        return small.scan(folder / "bank.conllu", folder / "store", progress=False)


def means(term: str, sentence, record, token: int, asking: int | None = None) -> bool:
    """Whether a token is meant, said slowly."""
    owner = words_of_tokens(record.tokens, sentence.spans)
    kind, _, value = term.partition(":")
    word = owner[token]
    if term == "any":
        return True
    if term == "special":
        return record.tokens.is_special[token]
    if word is None:
        return False
    if term == "governor":
        return owner[asking] is not None and sentence.governors[owner[asking]] == word
    if term == "dependent":
        return owner[asking] is not None and sentence.governors[word] == owner[asking]
    if kind == "pos":
        return sentence.parts_of_speech[word] == value
    if kind == "relation":
        return sentence.relations[word] == value
    if kind == "piece":
        return record.tokens.pieces[token] == value
    return sentence.words[word].lower() == term.lower()


@pytest.mark.parametrize(
    ("from_", "to"),
    [
        ("the", "pos:NOUN"),
        ("pos:NOUN", "special"),
        ("relation:nsubj", "governor"),
        ("pos:NOUN", "dependent"),
        ("any", "piece:cher"),
        ("special", "any"),
    ],
)
def test_what_is_found_is_what_loops_find(corpus: Corpus, small: AttentionAnalyzer, from_: str, to: str) -> None:
    table = corpus.search(from_, to).set_index(["layer", "head"])
    sentences = list(read_conllu(treebank(COUNT).splitlines(), "bank"))
    records = [small.record(sentence.text) for sentence in sentences]
    for layer, head in ((0, 2), (1, 0)):
        asked = found = 0
        chance = weight = 0.0
        for sentence, record in zip(sentences, records, strict=True):
            matrix = record.entries[layer].weights.full()[head]
            size = len(record.tokens)
            for query in range(size):
                meant = [key for key in range(size) if means(to, sentence, record, key, query)]
                if means(from_, sentence, record, query) and meant:
                    asked, chance = asked + 1, chance + len(meant) / size
                    key = int(matrix[query].argmax())
                    if key in meant:
                        found, weight = found + 1, weight + float(matrix[query, key])
        row = table.loc[(layer, head)]
        assert (row["asked"], row["found"]) == (asked, found)
        assert asked > 0
        assert row["share"] == pytest.approx(found / asked)
        assert row["chance"] == pytest.approx(chance / asked)
        assert found == 0 or row["weight"] == pytest.approx(weight / found, abs=1e-3)
    assert table["share"].is_monotonic_decreasing


def test_places_behind_a_row(corpus: Corpus) -> None:
    row = corpus.search("any", "pos:NOUN").iloc[0]
    found = corpus.matches("any", "pos:NOUN", row["layer"], row["head"], limit=1000)
    assert len(found) == row["found"]
    assert found["weight"].mean() == pytest.approx(row["weight"])
    assert found["text"].is_monotonic_increasing
    assert found["text"].nunique() > 3  # of several chunks
    first = found.iloc[0]
    assert first["query_piece"] in [*first["content"].split(), "[CLS]", "[SEP]"] or first["query_piece"] != ""
    assert len(corpus.matches("any", "any", 0, 0, limit=2)) == 2


def test_what_cannot_be_asked_is_refused(corpus: Corpus, small: AttentionAnalyzer, tmp_path: Path) -> None:
    for from_, to, message in (
        ("pso:NOUN", "any", "'pso:NOUN' names no tokens; write a word, or"),
        ("governor", "any", "it cannot say which tokens look"),
        (" ", "any", "names no tokens"),
    ):
        with pytest.raises(InputError, match=message):
            corpus.search(from_, to)
    with pytest.raises(SelectionError, match="no head L7H0"):
        corpus.matches("any", "any", 7, 0)
    plain = small.scan(["The dog saw a cat ."], tmp_path / "store", progress=False)
    assert plain.search("the", "cat")["asked"].tolist() == [1] * 6
    assert plain.search("horse", "cat")["asked"].tolist() == [0] * 6
    with pytest.raises(InputError, match=r"'pos:NOUN' asks for annotation, .* scan .conllu files"):
        plain.search("the", "pos:NOUN")
