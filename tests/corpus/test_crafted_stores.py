"""A store of somebody who knows the format: its hashes are right, and what it says is still checked before use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Corpus
from attention_analyzer.corpus.manifest import FileEntry, Manifest, sealed
from attention_analyzer.errors import FileFormatError
from tests.corpus.conftest import sentences

SITE = {"stack": "x", "kind": "self", "layer": 0, "heads": 1, "module": ""}


@pytest.fixture(scope="module")
def scanned(small: AttentionAnalyzer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scanned") / "store"
    small.scan(sentences(8), folder, examples=2, progress=False)
    return folder


@pytest.fixture
def store(scanned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scanned, tmp_path / "store"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"settings": {"examples": 10**9}}, "settings with 0 to 10,000 examples"),
        ({"settings": {}}, "settings with 0 to 10,000 examples"),
        ({"settings": []}, "settings must be"),
        ({"chunks": True}, "chunks must be a count"),
        ({"chunks": -1}, "chunks must be a count"),
        ({"texts": 2**70}, "texts must be a count"),
        ({"tokens": "many"}, "tokens must be a count"),
        ({"deviation": None}, "deviation must be a number"),
        ({"finished": 1}, "finished must be true or false"),
        ({"model": 7}, "model must be a name"),
        ({"sites": [{}]}, "sites must be a list of sites"),
        ({"sites": [SITE | {"heads": 10**9}]}, "more than 131,072 heads"),
        ({"linked": [5]}, "sites that are not there"),
        ({"linked": [0, 0]}, "sites that are not there"),
        ({"files": {"../../etc/passwd": [1, "0" * 32]}}, "no file of this scan"),
        ({"files": {"texts/000009.parquet": [1, "0" * 32]}}, "no file of this scan"),
        ({"files": {"texts/000000.parquet": [1, "zz"]}}, "files must be"),
        ({"surprise": 1}, "missing or unknown: 'surprise'"),
    ],
)
def test_a_manifest_that_cannot_be(store: Path, change: dict[str, Any], reason: str) -> None:
    path = store / "manifest.json"
    path.write_bytes(sealed({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(FileFormatError, match="is damaged") as caught:
        Corpus.load(store)
    assert reason in str(caught.value)


def test_a_manifest_without_one_of_its_entries(store: Path) -> None:
    path = store / "manifest.json"
    content = json.loads(path.read_bytes())
    for name in content:
        path.write_bytes(sealed({key: value for key, value in content.items() if key != name}))
        if name == "checksum":
            Corpus.load(store)
            continue
        with pytest.raises(FileFormatError):
            Corpus.load(store)


def exchange(store: Path, file: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table, and its hash with it."""
    path = store / file
    table = change(pq.read_table(path))
    pq.write_table(table, path, compression="zstd", use_dictionary=[])
    manifest = Manifest.from_json((store / "manifest.json").read_bytes(), "")
    files = {**manifest.files, file: FileEntry.of(path.read_bytes())}
    (store / "manifest.json").write_bytes(replace(manifest, files=files).to_json())


def put(column: str, value: object, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        field = table.schema.field(column)
        return table.set_column(table.column_names.index(column), field, pa.array(values, field.type))

    return change


HEADS, EXAMPLES, KEPT = (f"{name}-000001.parquet" for name in ("heads", "examples", "kept"))


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        (HEADS, lambda table: table.slice(1), "sums of"),
        (HEADS, lambda table: pa.concat_tables([table] * 2), "at most are possible"),
        (HEADS, lambda table: table.drop_columns(["total"]), "its columns are others"),
        (HEADS, put("layer", 1), "the heads have another layer"),
        (HEADS, put("measure", "x"), "the heads have another measure"),
        (HEADS, put("texts", -1), "a number of texts is impossible"),
        (HEADS, put("total", None), "its column 'total' has gaps"),
        (EXAMPLES, put("number", 6), "a head or rank that is not there"),
        (EXAMPLES, put("number", -1), "a head or rank that is not there"),
        (EXAMPLES, put("rank", 3), "a head or rank that is not there"),
        (EXAMPLES, put("rank", 2), "two examples have one rank"),
        (EXAMPLES, put("head", 2), "another head than its head"),
        (EXAMPLES, put("measure", "x"), "a measure that is not there"),
        (EXAMPLES, put("value", float("nan")), "has no value"),
        (EXAMPLES, put("text", 2**60), "a text that is not kept"),
        (EXAMPLES, put("query", 0), "no pair names tokens"),
        (EXAMPLES, put("query", 400, -1), "names tokens that are not there"),
        (EXAMPLES, put("key", -1, -1), "names tokens that are not there"),
        (EXAMPLES, put("key", None, -1), "names tokens that are not there"),
        (KEPT, lambda table: pa.concat_tables([table] * 2), "a text is kept twice"),
        (KEPT, put("pieces", [None]), "its column 'pieces' has gaps"),
        (KEPT, put("content", "x" * 80_000_000), "unpacks to more than 200 times its size"),
        ("tokens/000000.parquet", put("position", 7), "tokens that are not in order"),
        ("tokens/000000.parquet", put("strongest", [65535] * 6, 1), "names tokens that are not there"),
        ("tokens/000000.parquet", lambda table: table.drop_columns(["weight"]), "other columns than the scan writes"),
    ],
)
def test_tables_that_cannot_be(store: Path, file: str, change: Callable, reason: str) -> None:
    exchange(store, file, change)
    corpus = Corpus.load(store)
    with pytest.raises(FileFormatError) as caught:
        corpus.search("any", "any") if "tokens" in file else corpus.heads()
    assert reason in str(caught.value)


def test_numbers_that_can_be_are_read(store: Path) -> None:
    exchange(store, HEADS, put("total", 12.5))
    table = Corpus.load(store).heads()
    assert np.isclose(table["mean"][0] * table["texts"][0], 12.5)
