"""A scan's folder: Parquet files and a manifest that names those that count.

What is written becomes part of the store in one step, when the manifest that names it takes the old one's place; so a
scan that is killed at any moment leaves a store that is whole. Layout, version 1::

    manifest.json           format, model, settings, how far the scan has come, which files count
    heads-N.parquet         sums of every head's measures      (N: chunks that they are of)
    examples-N.parquet      where each head is strongest
    kept-N.parquet          the texts that these name
    problems-N.parquet      rows that were left out
    texts/C.parquet         every text of chunk C              (where links are kept)
    tokens/C.parquet        every token of chunk C, with each head's strongest key
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from attention_analyzer.errors import AttentionAnalyzerError, FileFormatError, InputError

VERSION = 1
_FORMAT = "attention-analyzer corpus"
_MANIFEST = "manifest.json"
STATE = ("heads", "examples", "kept", "problems")
PARTS = ("texts", "tokens")


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself.

    Attributes:
        model, fingerprint: the model's name, and the hash of its weights and configuration.
        settings: everything that decides the results.
        sites: stack, kind, layer, heads and module of every site; ``linked``: those of them, by their place, whose
            links are kept.
        chunks, rows, digest: how far the scan has come in its input.
        texts, tokens, batches, proved, deviation: what was analysed and how it was proved.
        problems: rows that were left out; the table holds the first of them.
        finished: whether the input had ended.
    """

    model: str
    fingerprint: str
    settings: dict[str, Any]
    sites: list[dict[str, Any]] = field(default_factory=list)
    linked: list[int] = field(default_factory=list)
    chunks: int = 0
    rows: int = 0
    digest: str = ""
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    proved: int = 0
    deviation: float = 0.0
    problems: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Store:
    """Files of one scan."""

    folder: Path

    @property
    def exists(self) -> bool:
        return (self.folder / _MANIFEST).is_file()

    def manifest(self) -> Manifest:
        """What the store says of itself.

        Raises:
            InputError: there is no store here.
            FileFormatError: it is damaged, or written by a newer version.
        """
        path = self.folder / _MANIFEST
        if not path.is_file():
            raise InputError(f"{self.folder} holds no scan ({_MANIFEST} is missing); make one with attn corpus scan.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                raise FileFormatError(f"{path} is not of a scan.")
            version = content.pop("version")
            if version > VERSION:
                raise FileFormatError(f"{path} has the version {version}; this program reads up to {VERSION}.")
            return Manifest(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"{path} is damaged ({error!r}).") from None

    def read(self, name: str, chunks: int) -> pa.Table:
        """One of the :data:`STATE` tables.

        Raises:
            FileFormatError: it is missing or damaged.
        """
        path = self.folder / f"{name}-{chunks:06d}.parquet"
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise FileFormatError(f"{path} cannot be read ({error}); the store is damaged.") from None

    def parts(self, name: str, chunks: int) -> list[Path]:
        """The files of the first chunks that have this part ("texts" or "tokens")."""
        paths = (self.part(name, number) for number in range(chunks))
        return [path for path in paths if path.is_file()]

    def part(self, name: str, number: int) -> Path:
        return self.folder / name / f"{number:06d}.parquet"

    def write_part(self, name: str, number: int, table: pa.Table | None) -> None:
        """A chunk's texts or tokens, if there are any. They count when a manifest says that the chunk is done."""
        if table is None:  # what a killed scan may have left there
            self.part(name, number).unlink(missing_ok=True)
        else:
            _written(self.part(name, number), table)

    def commit(self, manifest: Manifest, tables: dict[str, pa.Table]) -> None:
        """Let the state tables and the manifest take the place of the ones before.

        Raises:
            AttentionAnalyzerError: the disk is full or not writable; the store stays as it was.
        """
        for name, table in tables.items():
            _written(self.folder / f"{name}-{manifest.chunks:06d}.parquet", table)
        content = {"format": _FORMAT, "version": VERSION, **asdict(manifest)}
        _replaced(self.folder / _MANIFEST, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        for name in STATE:
            for path in self.folder.glob(f"{name}-*.parquet"):
                if path.stem != f"{name}-{manifest.chunks:06d}":
                    path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here meanwhile; a killed process holds nothing.

        Raises:
            InputError: another scan is writing to this store.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            _refuse(self.folder, error)
        try:
            _lock(lock, self.folder)
            yield
        finally:
            os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # a system without locks on files
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(f"Another scan is writing to {folder}; wait for it, or choose another folder.") from None


def _written(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    # Numbers hardly repeat; looking for repetitions in them takes longer than writing them.
    words = [column.name for column in table.schema if pa.types.is_dictionary(column.type)]
    pq.write_table(table, sink, compression="zstd", use_dictionary=words)
    _replaced(path, sink.getvalue())


def _replaced(path: Path, content: Any) -> None:
    """The file appears whole or not at all, and is on the disk when it does."""
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        _refuse(path.parent, error)


def _refuse(folder: Path, error: OSError) -> NoReturn:
    raise AttentionAnalyzerError(
        f"The scan could not be written to {folder}: {error.strerror or error}. What was finished is kept; make room "
        "and run the same command again, and it goes on from there."
    ) from error
