"""A store gives back what was written or says what is damaged; SQL on it is closed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Corpus, chunks
from attention_analyzer.corpus.store import Store
from attention_analyzer.errors import FileFormatError, InputError
from tests.corpus.conftest import sentences


@pytest.fixture(scope="module")
def written(small: AttentionAnalyzer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_TEXTS", 5)
        small.scan(sentences(15), folder, progress=False)
    return folder


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "store"))


@pytest.mark.parametrize("part", ["tokens/000001.parquet", "texts/000001.parquet"])
@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "exchanged"])
def test_a_damaged_part_is_named_and_the_rest_can_be_asked(
    small, store: Path, part: str, harm: str, monkeypatch
) -> None:
    path = store / part
    content = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(content[:-1])
    elif harm == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        shutil.copy(path.with_name("000002.parquet"), path)
    corpus = Corpus.load(store)
    assert corpus.verify()["file"].tolist() == [part]
    for ask in (lambda c: c.sql("FROM texts"), lambda c: c.search("any", "any")):
        with pytest.raises(FileFormatError, match=part):
            ask(corpus)
    skipping = Corpus.load(store, errors="skip")
    with pytest.warns(UserWarning, match=part):
        assert sorted(skipping.sql("SELECT DISTINCT text FROM texts")["text"]) == [*range(5), *range(10, 15)]
    assert skipping.problems()["place"].tolist() == [str(store / part)]
    monkeypatch.setattr(chunks, "CHUNK_TEXTS", 5)
    with pytest.raises(FileFormatError, match=part):
        small.scan(sentences(15), store, progress=False)


def test_renamed_and_foreign_files_are_told(store: Path) -> None:
    (store / "tokens/000001.parquet").rename(store / "tokens/000000-b.parquet")
    (store / "notes.txt").write_text("x")
    found = Corpus.load(store).verify().set_index("file")["reason"]
    assert found["tokens/000001.parquet"] == "is missing; tokens/000000-b.parquet has its content"
    assert found["notes.txt"] == "is not of this scan"
    assert len(found) == 2


def test_no_changed_byte_of_a_manifest_is_believed(store: Path) -> None:
    path = store / "manifest.json"
    content = path.read_bytes()
    before = Store(store).manifest()
    for at in range(0, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            assert Store(store).manifest() == before
        except FileFormatError:
            continue


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('{secret}')",
        "FROM read_csv('{secret}')",
        "FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access=true",
        "PRAGMA enable_profiling",
        "FROM query('FROM read_text(''{secret}'')')",
        "DROP VIEW texts",
        "FROM read_parquet('{foreign}')",
        "FROM '{foreign}'",
        "FROM read_parquet(['{store}/texts/000000.parquet', '{foreign}'])",
        "FROM read_parquet('{store}/texts/../../foreign.parquet')",
        "FROM read_parquet('{store}/kept-*.parquet')",
        "FROM parquet_metadata('{foreign}')",
        "FROM query_table('{foreign}')",
        "SELECT getenv('HOME')",
        "SELECT 1; SELECT 2",
        "SELECT 1 -- ;\n; COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT 1 /* ; */; COPY (SELECT 1) TO '{folder}/out.csv'",
        "/* SELECT 1 */ COPY (SELECT 1) TO '{folder}/out.csv'",
        "",
        " ; ",
        "-- nothing",
        "SELEC 1",
    ],
)
def test_sql_reads_the_stores_tables_and_nothing_else(store: Path, query: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hidden,words\n")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"hidden": ["hidden"]}), foreign)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        Corpus.load(store).sql(query.format(secret=secret, folder=tmp_path, foreign=foreign, store=store))
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_part_that_is_a_link_is_damage(store: Path, tmp_path: Path) -> None:
    part = store / "texts/000001.parquet"
    part.rename(tmp_path / "elsewhere.parquet")
    part.symlink_to(tmp_path / "elsewhere.parquet")
    corpus = Corpus.load(store)
    assert corpus.verify()["reason"].tolist() == ["is a link, and not the file that the scan wrote"]
    with pytest.raises(FileFormatError, match=r"texts/000001\.parquet is a link"):
        corpus.sql("FROM texts")


def test_an_empty_query_says_so_whatever_the_store_is_like(store: Path) -> None:
    (store / "texts/000001.parquet").unlink()
    for query in ("", " ;\n", "-- nothing", "/* nothing */ ;"):
        with pytest.raises(InputError, match="The query is empty"):
            Corpus.load(store).sql(query)


def test_unsafe_sql_may_read_files(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "a.txt"
    secret.write_text("words")
    found = Corpus.load(store).sql(f"SELECT content FROM read_text('{secret}')", unsafe=True)
    assert found["content"].tolist() == ["words"]


def test_a_query_that_takes_too_much_ends(store: Path) -> None:
    corpus = Corpus.load(store)
    with pytest.raises(InputError, match=r"took longer than 0\.3 seconds"):
        corpus.sql(
            "SELECT count(*) FROM range(10000000000) a, range(10) b WHERE a.range * b.range % 7 = 3", timeout=0.3
        )
    with pytest.raises(InputError, match="more than 64 MB"):
        corpus.sql("SELECT * FROM range(1000000000000)", memory=64)


def test_what_is_not_finished_is_said(small, tmp_path: Path) -> None:
    def texts():
        yield "The dog ."
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.scan(texts(), tmp_path / "store", progress=False)
    with pytest.raises(InputError, match="has no results yet"):
        Corpus.load(tmp_path / "store").heads("entropy")


def test_a_row_that_cannot_be_used_may_end_the_scan(small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Row 1 cannot be used: text 1: .* is empty"):
        small.scan(["The dog .", "  "], tmp_path / "store", progress=False, errors="raise")


def as_version_1(store: Path) -> None:
    path = store / "manifest.json"
    content = json.loads(path.read_text())
    for name in ("checksum", "files"):
        del content[name]
    path.write_text(json.dumps({**content, "version": 1}))


def test_a_store_without_hashes_opens_with_a_warning_and_gets_them(small, store: Path, monkeypatch) -> None:
    before = Corpus.load(store)
    as_version_1(store)
    with pytest.warns(UserWarning, match="has no checksums"):
        old = Corpus.load(store)
    assert old.verify().empty
    assert len(old.sql("FROM texts")) == 15
    monkeypatch.setattr(chunks, "CHUNK_TEXTS", 5)
    with pytest.warns(UserWarning, match="has no checksums"):
        again = small.scan(sentences(15), store, progress=False)
    assert again.manifest == before.manifest
    as_version_1(store)
    (store / "texts/000001.parquet").unlink()
    with pytest.warns(UserWarning, match="has no checksums"):
        old = Corpus.load(store)
    with pytest.raises(FileFormatError, match="has 10 texts instead of 15"):
        old.sql("FROM texts")


#: The command, saying when the query has begun.
QUERY = """
from attention_analyzer.cli.main import main
from attention_analyzer.corpus import sql

fetched = sql._Running._fetched

def told(running):
    print("begun", flush=True)
    return fetched(running)

sql._Running._fetched = told
main()
"""


def test_an_interrupt_ends_a_query_at_once(store: Path) -> None:
    query = "SELECT count(*) FROM range(10000000000) a, range(10) b WHERE a.range * b.range % 7 = 3"
    process = subprocess.Popen(
        [sys.executable, "-c", QUERY, "corpus", "query", store, query],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.3)  # well inside the query
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 5
    assert "Traceback" not in said
