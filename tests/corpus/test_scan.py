"""Scans: what the store says is what every text says by itself; and what goes wrong is told and costs nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Corpus, chunks, worker
from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.store import Store
from attention_analyzer.errors import AttentionAnalyzerError, FileFormatError, InputError
from attention_analyzer.metrics import METRICS
from attention_analyzer.patterns import PATTERNS
from attention_analyzer.patterns.measure import measure_record
from tests.corpus.conftest import sentences
from tests.corpus.scanner import Scanner
from tests.linguistics.treebank import treebank

HEADS = 6
ROOT = Path(__file__).resolve().parent.parent.parent


def scan(analyzer: AttentionAnalyzer, inputs, folder: Path, **options) -> Corpus:
    return analyzer.scan(inputs, folder, progress=False, **options)


def alone(analyzer: AttentionAnalyzer, texts: list[str]) -> np.ndarray:
    """``[text, head, measure]``, each text by itself, by the room that owns the measure."""
    found = np.full((len(texts), HEADS, len(MEASURES)), np.nan)
    for index, text in enumerate(texts):
        record = analyzer.record(text)
        table = record.heads()
        for number, metric in enumerate(METRICS):
            found[index, :, number] = table[metric.name]
        for site, (_, strengths) in enumerate(measure_record(record)):
            for pattern, values in zip(strengths.patterns, strengths.strength, strict=True):
                found[index, 3 * site : 3 * site + 3, MEASURES.index(pattern.name)] = values
    return found


@pytest.mark.parametrize("which", ["small", "causal"])
def test_every_number_is_that_of_the_texts_alone(which: str, request, tmp_path: Path, monkeypatch) -> None:
    analyzer = request.getfixturevalue(which)
    monkeypatch.setattr(chunks, "CHUNK_TEXTS", 7)
    texts = sentences(19)
    corpus = scan(analyzer, texts, tmp_path / "store", batch_tokens=61, examples=5)
    expected = alone(analyzer, texts)
    table = corpus.heads()
    assert list(dict.fromkeys(table["measure"])) == list(MEASURES)
    assert table["texts"].tolist() == (~np.isnan(expected)).sum(0).ravel().tolist()
    known = ~np.isnan(expected).all(0)
    for column, values in (
        ("mean", np.nanmean(expected[:, known], 0)),
        ("spread", np.nanstd(expected[:, known], 0, ddof=1)),
        ("smallest", np.nanmin(expected[:, known], 0)),
        ("largest", np.nanmax(expected[:, known], 0)),
    ):
        np.testing.assert_allclose(table[column][known.ravel()], values, atol=2e-5, err_msg=column)
    assert table["mean"][~known.ravel()].isna().all()
    assert {"previous_token", "same_sentence", "entropy"} <= set(table["measure"])
    assert "retrieval" not in set(table["measure"])  # it asks for texts that are made for it
    for layer, head, measure in ((0, 1, "entropy"), (1, 2, "same_sentence"), (1, 0, "previous_token")):
        values = expected[:, 3 * layer + head, MEASURES.index(measure)]
        examples = corpus.examples(layer, head, measure)
        order = np.argsort(-np.nan_to_num(values, nan=-1), kind="stable")[:5]
        assert examples["value"].to_numpy() == pytest.approx(values[order], abs=2e-5)
        assert examples["content"].tolist() == [texts[number] for number in examples["text"]]
    assert corpus.manifest.texts == 19
    assert corpus.manifest.batches > corpus.manifest.proved >= 3


def test_measures_have_names_of_their_own() -> None:
    assert len(set(MEASURES)) == len(MEASURES) == len(METRICS) + len(PATTERNS) - 1


def slow_pairs(analyzer: AttentionAnalyzer, texts: list[str], layer: int, head: int) -> list[tuple]:
    found = []
    for number, text in enumerate(texts):
        record = analyzer.record(text)
        matrix = record.entries[layer].weights.full()[head]
        special = record.tokens.is_special
        best = (-1.0, 0, 0)
        for query, row in enumerate(matrix):
            key = int(row.argmax())
            if not special[query] and not special[key] and float(row[key]) > best[0] + 1e-7:
                best = (float(row[key]), query, key)
        if best[0] >= 0:
            found.append((number, *best, record.tokens.pieces[best[1]], record.tokens.pieces[best[2]]))
    return sorted(found, key=lambda each: -each[1])


def test_token_pairs_are_the_strongest_there_are(small: AttentionAnalyzer, tmp_path: Path) -> None:
    texts = sentences(25)
    corpus = scan(small, texts, tmp_path / "store", examples=3)
    for layer, head in ((0, 0), (1, 1)):
        expected = slow_pairs(small, texts, layer, head)[:3]
        found = corpus.examples(layer, head)
        assert found["value"].to_numpy() == pytest.approx([each[1] for each in expected], abs=1e-5)
        for row in found.itertuples():
            assert (row.text, row.query, row.key, row.query_piece, row.key_piece) in [
                (number, query, key, *pieces) for number, _, query, key, *pieces in expected
            ]


def test_links_are_every_tokens_strongest_key(causal: AttentionAnalyzer, tmp_path: Path) -> None:
    texts = sentences(11)
    corpus = scan(causal, texts, tmp_path / "store")
    links = corpus.sql("SELECT * FROM links WHERE layer = 1 AND head = 2 ORDER BY text, query")
    record = causal.record(texts[4])
    matrix = record.entries[1].weights.full()[2]
    found = links[links["text"] == 4]
    assert found["query_piece"].tolist() == list(record.tokens.pieces)
    largest = matrix.max(-1).values
    assert found["weight"].to_numpy() == pytest.approx(largest.numpy(), abs=5e-4)
    looked = matrix[range(len(matrix)), found["key"].tolist()]
    assert looked.numpy() == pytest.approx(largest.numpy(), abs=1e-6)
    counts = corpus.sql("SELECT count(*) AS n FROM links")["n"].item()
    assert counts == HEADS * corpus.manifest.tokens
    assert corpus.sql("SELECT sum(tokens) AS n FROM texts")["n"].item() == corpus.manifest.tokens
    with pytest.raises(InputError, match=r"cannot be answered: .*nothing_there"):
        corpus.sql("SELECT * FROM nothing_there")


def same(left: Corpus, right: Corpus) -> None:
    """All tables, bit by bit, and the manifests."""
    assert left.manifest == right.manifest
    for query in ("FROM heads", "FROM examples", "FROM problems", "FROM texts", "FROM tokens"):
        pd.testing.assert_frame_equal(left.sql(query), right.sql(query), check_exact=True)


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    made = Scanner()
    yield made
    made.close()


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_tables(scanner: Scanner, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert len(scanner.scan(undisturbed, commit_every=0)) == 14  # thirteen chunks, and the end
    done = None
    for kill_after, commit_every in ((1, 60), (2, 0), (4, 60)):
        scanner.scan(killed, kill_after, commit_every=commit_every)
        before, done = done, Store(killed).manifest()
        assert not done.finished
    # The last one was killed before it had committed anything of its own.
    assert before is not None
    assert 1 <= before.chunks == done.chunks < 13
    # What the killed ones had begun to write lies about and does not count.
    (killed / "tokens" / f".{done.chunks:06d}.parquet.part").write_bytes(b"half")
    lines = scanner.scan(killed, commit_every=60)
    assert int(lines[0]) == done.texts + 7, "it did not go on where it was"
    assert lines[-2:] == ["90", "ended"]
    same(Corpus.load(killed), Corpus.load(undisturbed))
    assert sorted(path.relative_to(killed) for path in killed.rglob("*")) == sorted(
        path.relative_to(undisturbed) for path in undisturbed.rglob("*")
    )


def test_a_disk_that_takes_no_more_is_told_and_what_was_finished_stays(scanner: Scanner, tmp_path: Path) -> None:
    # A limit on the size of files is how a process can meet a full disk without filling everybody's.
    folder = tmp_path / "store"
    *_, told, _ = scanner.scan(folder, commit_every=0, full_at=42)
    assert "could not be written" in told
    assert "Completed work is saved" in told
    assert Store(folder).manifest().texts == 42
    assert len(Corpus.load(folder).heads("entropy")) == HEADS
    assert scanner.scan(folder, commit_every=0)[-2:] == ["90", "ended"]


def test_rows_that_cannot_be_used_are_left_out_with_place_and_reason(small, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    long = " ".join(["dog"] * 60)
    lines = ['"The dog saw a cat ."', "{oops", '"   "', json.dumps(long), '"\\ud800 x"', '"The cat ."']
    path.write_text("\n".join(lines) + "\n")
    corpus = scan(small, path, tmp_path / "store")
    assert corpus.manifest.texts == 2
    problems = corpus.problems()
    assert problems["row"].tolist() == [1, 2, 3, 4]
    assert problems["place"].str.endswith(("line 2", "line 3", "line 4", "line 5")).all()
    reasons = problems["reason"].tolist()
    assert reasons[0].startswith("the line is no JSON")
    assert "is empty" in reasons[1]
    assert reasons[2] == "the text has 62 tokens, but the model has positions for 40; cut it with truncate"
    assert "lone surrogate" in reasons[3]
    assert corpus.sql("SELECT content FROM texts")["content"].tolist() == ["The dog saw a cat .", "The cat ."]
    cut = scan(small, path, tmp_path / "cut", truncate=True)
    assert cut.manifest.texts == 3
    assert cut.sql("SELECT max(tokens) AS n FROM texts")["n"].item() == 40


def test_a_changed_model_setting_or_input_is_refused(small, causal, tmp_path: Path) -> None:
    texts, store = sentences(6), tmp_path / "store"
    before = scan(small, texts, store)
    with pytest.raises(InputError, match=r"created with the model .* and this is"):
        scan(causal, texts, store)
    with pytest.raises(InputError, match="created with examples=10, and now it is 3"):
        scan(small, texts, store, examples=3)
    with pytest.raises(InputError, match="first 6 rows of the input differ"):
        scan(small, ["Another .", *texts[1:]], store)
    with pytest.raises(InputError, match="has 6 rows of the input, but the input now has only 4"):
        scan(small, texts[:4], store)
    same(Corpus.load(store), before)
    grown = scan(small, sentences(9), store)
    assert grown.manifest.texts == 9
    assert grown.examples(0, 0, "entropy")["text"].max() > 5
    # A store that is all done is not computed again.
    calls = []
    small.scan(sentences(9), store, progress=calls.append)
    assert calls == []


def test_folders_that_are_no_store_are_refused(small, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files and no scan"):
        scan(small, ["The dog ."], tmp_path)
    with pytest.raises(InputError, match="holds no scan"):
        Corpus.load(tmp_path)
    with pytest.raises(InputError, match="has no text"):
        scan(small, [], tmp_path / "empty")
    corpus = scan(small, ["The dog ."], tmp_path / "store")
    manifest = corpus.folder / "manifest.json"
    content = manifest.read_text()
    manifest.write_text(content.replace('"version": 2', '"version": 3'))
    with pytest.raises(FileFormatError, match="version 3; this program reads up to 2"):
        Corpus.load(corpus.folder)
    manifest.write_text(content[:50])
    with pytest.raises(FileFormatError, match="is damaged"):
        Corpus.load(corpus.folder)
    manifest.write_text(content)
    (corpus.folder / "heads-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(FileFormatError, match="the store is damaged"):
        Corpus.load(corpus.folder).heads()


def test_two_scans_do_not_write_to_one_store(small, tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def texts():
        yield "The dog saw a cat ."
        entered.set()
        leave.wait(60)

    first = threading.Thread(target=scan, args=(small, texts(), tmp_path / "store"))
    first.start()
    assert entered.wait(60)
    with pytest.raises(InputError, match="Another scan is writing"):
        scan(small, ["The dog saw a cat ."], tmp_path / "store")
    leave.set()
    first.join(60)
    assert Corpus.load(tmp_path / "store").manifest.finished


def test_a_small_store_keeps_examples_only(small, tmp_path: Path) -> None:
    corpus = scan(small, sentences(40), tmp_path / "store", links=False, examples=1)
    assert not (corpus.folder / "tokens").exists()
    kept = corpus.sql("SELECT * FROM texts")
    named = set(corpus.sql("SELECT DISTINCT text FROM examples")["text"])
    assert set(kept["text"]) == named
    assert len(named) < 40
    assert corpus.examples(1, 1)["query_piece"].notna().all()
    with pytest.raises(InputError, match="without top keys"):
        corpus.search("any", "any")


def test_progress_tells_rate_and_time_left(small, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_TEXTS", 10)
    seen = []
    small.scan(sentences(30), tmp_path / "store", progress=seen.append)
    assert [progress.texts for progress in seen] == [10, 20, 30]
    assert [progress.share for progress in seen] == pytest.approx([1 / 3, 2 / 3, 1])
    assert seen[1].seconds_left == pytest.approx(seen[1].seconds / 2)
    assert str(seen[1]).startswith("20 texts · ")
    assert str(seen[1]).endswith(" left")


def test_annotation_reaches_the_tokens(small, tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(treebank(4))
    tokens = scan(small, path, tmp_path / "store").sql("FROM tokens WHERE text = 1 AND NOT special")
    words = tokens.drop_duplicates("word_index")
    assert words["word"].tolist() == ["The", "big", "dog", "saw", "a", "doctor", "."]
    assert words["pos"].tolist() == ["DET", "ADJ", "NOUN", "VERB", "DET", "NOUN", "PUNCT"]
    assert words["relation"].tolist() == ["det", "amod", "nsubj", "root", "det", "obj", "punct"]
    assert words["governor"].fillna(-1).astype(int).tolist() == [2, 2, 3, -1, 5, 3, 3]


def test_an_encoder_decoder_is_scanned_site_by_site(tmp_path: Path) -> None:
    analyzer = AttentionAnalyzer("demo-translator", cache=False)
    pairs = [("the third of may", "03"), ("the first of june nineteen ninety", "01 06")]
    corpus = scan(analyzer, pairs, tmp_path / "store", examples=2)
    record = analyzer.record(pairs[1])
    cross = next(entry for entry in record.entries if entry.site.kind == "cross")
    found = corpus.examples(0, 1, stack="decoder", kind="cross")
    matrix = cross.weights.full()[1]
    row = found[found["text"] == 1].iloc[0]
    assert float(matrix[row["query"], row["key"]]) == pytest.approx(row["value"], abs=1e-5)
    assert row["query_piece"] == cross.queries.pieces[row["query"]]
    assert row["key_piece"] == cross.keys.pieces[row["key"]]
    with pytest.raises(InputError, match="There are several heads L0H1; say which: stack='encoder', kind='self', "):
        corpus.examples(0, 1)
    searched = corpus.search("any", "any")
    assert set(searched["stack"]) == {"encoder"}


def test_batches_hold_texts_of_like_length(small) -> None:
    texts = tuple((number, chunks.Row(text, "")) for number, text in enumerate(sentences(50)))
    made = list(worker._batches(small.loaded, texts, worker.WorkSettings(batch_tokens=64), []))
    assert sorted(number for batch in made for number, _ in batch) == list(range(50))
    lengths = [[len(small.record(row.text).tokens) for _, row in batch] for batch in made]
    assert all(max(batch) * len(batch) <= 64 for batch in lengths)
    in_order = [length for batch in lengths for length in batch]
    assert in_order == sorted(in_order, reverse=True)


def test_wrong_arguments_are_refused(small, tmp_path: Path) -> None:
    for options, message in (
        ({"examples": -1}, "examples must be at least 0"),
        ({"batch_tokens": 0}, "batch_tokens must be at least 1"),
        ({"engine": "cluster"}, "no engine 'cluster'"),
        ({"workers": 3}, "workers and address require the ray engine"),
    ):
        with pytest.raises(InputError, match=message):
            scan(small, ["The dog ."], tmp_path / "store", **options)
    with pytest.raises(InputError, match="no file, folder or dataset"):
        scan(small, "nowhere.txt", tmp_path / "store")
    with pytest.raises(InputError, match="Files or texts were expected, not int"):
        scan(small, 7, tmp_path / "store")


def test_a_model_that_gives_no_finite_weights_ends_the_scan(tmp_path: Path) -> None:
    from tests.linguistics.test_questions import bert

    loaded = bert()
    loaded.model.encoder.layer[1].attention.self.query.weight.data[0] = float("nan")
    with pytest.raises(AttentionAnalyzerError, match="NaN or infinite"):
        scan(AttentionAnalyzer.of(loaded, cache=False), sentences(3), tmp_path / "store")
