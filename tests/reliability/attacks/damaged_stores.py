"""A corpus scan's folder: damaged files, files of somebody who knows the format, and scans that are killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Corpus, chunks
from attention_analyzer.corpus.manifest import FileEntry, Manifest, sealed
from attention_analyzer.corpus.store import PARTS
from tests.corpus.conftest import sentences
from tests.damage import damaged_copies
from tests.linguistics.test_questions import bert
from tests.reliability.attack import Attack
from tests.reliability.attacks.crafted_records import VALUES, places

MANIFEST = "manifest.json"
TEXTS = 12


@cache
def _scanned() -> Path:
    """A store of three chunks."""
    folder = Path(mkdtemp()) / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_TEXTS", 4)
        AttentionAnalyzer.of(bert(), cache=False).scan(sentences(TEXTS), folder, progress=False, examples=3)
    return folder


def content_of(folder: Path) -> Hashable:
    """All that a store can be asked."""
    corpus = Corpus.load(folder)
    tables = [
        corpus.heads(),
        corpus.examples(1, 2),
        corpus.problems(),
        corpus.search("the", "any"),
        corpus.matches("any", "any", 0, 1),
        corpus.sql("SELECT * FROM examples ORDER BY ALL"),
        corpus.sql("SELECT * FROM texts ORDER BY ALL"),
        corpus.sql("SELECT * FROM tokens ORDER BY ALL"),
    ]
    return (corpus.manifest.to_json(), *(table.to_json(double_precision=15) for table in tables))


def _damaged(kinds: tuple[str, ...]) -> Callable[[Random, Path], Iterator[Callable[[], bool]]]:
    def attempts(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
        store = Path(shutil.copytree(_scanned(), folder / "store"))
        expected = content_of(store)
        files = [path for kind in kinds for path in sorted(store.glob(kind))]
        while True:
            path = chance.choice(files)
            good = path.read_bytes()
            *_, flipped, cut = damaged_copies(good, 4, seed=chance.randrange(1 << 30))
            path.write_bytes(cut if chance.random() < 0.25 else flipped)
            yield lambda: content_of(store) == expected
            path.write_bytes(good)

    return attempts


def _manifests(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
    store = Path(shutil.copytree(_scanned(), folder / "store"))
    good = (store / MANIFEST).read_bytes()
    while True:
        content = json.loads(good)
        inner, place = chance.choice([found for found in places(content) if found[1] != "checksum"])
        if chance.random() < 0.25:
            del inner[place]
        else:
            inner[place] = chance.choice(VALUES)
        (store / MANIFEST).write_bytes(sealed(content))
        yield lambda: _answers(store)


def _answers(store: Path) -> bool:
    """Whatever the store says, it says it in tables that fit each other."""
    corpus = Corpus.load(store)
    heads = sum(site.heads for site in corpus.sites)
    content_of(store)
    return len(corpus.heads("entropy")) == heads


def _tables(kinds: tuple[str, ...]) -> Callable[[Random, Path], Iterator[Callable[[], bool]]]:
    def attempts(chance: Random, folder: Path) -> Iterator[Callable[[], bool]]:
        store = Path(shutil.copytree(_scanned(), folder / "store"))
        whole = Manifest.from_json((store / MANIFEST).read_bytes(), "")
        files = [path for kind in kinds for path in sorted(store.glob(kind))]
        while True:
            path = chance.choice(files)
            good = path.read_bytes()
            table = _crafted(pq.read_table(BytesIO(good)), chance)
            pq.write_table(table, path, use_dictionary=path.parent.name in PARTS)
            entry = FileEntry.of(path.read_bytes())
            name = path.relative_to(store).as_posix()
            files_now: dict[str, FileEntry] = {**(whole.files or {}), name: entry}
            (store / MANIFEST).write_bytes(replace(whole, files=files_now).to_json())
            yield lambda: _answers(store)
            path.write_bytes(good)

    return attempts


def _crafted(table: pa.Table, chance: Random) -> pa.Table:
    """With a column, rows or a value changed."""
    name = chance.choice(table.column_names)
    at = table.column_names.index(name)
    how = chance.choice(("gone", "renamed", "none", "fewer", "twice", "shuffled", "cell", "cell", "cell", "retyped"))
    if how == "gone":
        return table.drop_columns([name])
    if how == "renamed":
        return table.rename_columns([f"{each}x" if each == name else each for each in table.column_names])
    if how == "none":
        return table.set_column(at, name, pa.nulls(len(table), table.schema.field(name).type))
    if how == "fewer":
        return table.slice(chance.randrange(max(1, len(table))))
    if how == "twice":
        return pa.concat_tables([table, table])
    if how == "shuffled":
        return table.take(pa.array(chance.sample(range(len(table)), len(table)), pa.int64()))
    if how == "retyped":
        wanted = chance.choice((pa.string(), pa.int64(), pa.float64(), pa.list_(pa.int64())))
        return table.set_column(at, name, pa.nulls(len(table), wanted))
    values = table[name].to_pylist()
    if values:
        values[chance.randrange(len(values))] = chance.choice((None, *_like(table.schema.field(name).type)))
    return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def _like(kind: pa.DataType) -> tuple[Any, ...]:
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return "", "x", "\x1b[2J", "pairs", "entropy"
    if pa.types.is_boolean(kind):
        return True, False
    if pa.types.is_floating(kind):
        return float("nan"), float("inf"), -1.0, 1e30
    if pa.types.is_fixed_size_list(kind):
        low, high = (0, 65535) if pa.types.is_integer(kind.value_type) else (0.0, float("nan"))
        return [low] * kind.list_size, [high] * kind.list_size, [None] * kind.list_size
    if pa.types.is_list(kind):
        return [], ["x"], [None]
    top = 2 ** (kind.bit_width - 1) - 1
    return -1, 0, 1, 7, 400, top, -top


STORE_STATES = ("heads-*.parquet", "examples-*.parquet", "kept-*.parquet", "problems-*.parquet")
STORE_PARTS = ("texts/*.parquet", "tokens/*.parquet")
DAMAGED_STORES = (
    Attack("One bit flipped, or cut: a scan's manifest", _damaged((MANIFEST,)), share=0.3),
    Attack("One bit flipped, or cut: a scan's tables of heads and examples", _damaged(STORE_STATES), share=0.3),
    Attack("One bit flipped, or cut: a scan's texts and tokens", _damaged(STORE_PARTS), share=0.3),
    Attack("A scan's manifest with another value anywhere, its checksum right", _manifests, share=0.3),
    Attack("A scan's tables of heads and examples changed, their hashes right", _tables(STORE_STATES), share=0.3),
    Attack("A scan's texts and tokens changed, their hashes right", _tables(STORE_PARTS), share=0.3),
)
