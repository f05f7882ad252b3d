"""A scan's folder: Parquet files and a manifest that names those that count.

What is written becomes part of the store in one step, when the manifest that names it takes the old one's place; so a
scan that is killed at any moment leaves a store that is whole. The manifest has every file's size and hash, so that a
file that was lost, cut off, exchanged or changed is noticed. Layout, version 2::

    manifest.json           format, model, settings, how far the scan has come, which files count; its own checksum
    heads-N.parquet         sums of every head's measures      (N: chunks that they are of)
    examples-N.parquet      where each head is strongest
    kept-N.parquet          the texts that these name
    problems-N.parquet      rows that were left out
    texts/C.parquet         every text of chunk C              (where links are kept)
    tokens/C.parquet        every token of chunk C, with each head's strongest key

Version 1 is the same without sizes, hashes and checksum.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from filelock import FileLock, Timeout

from attention_analyzer.cleanup import undone
from attention_analyzer.corpus.manifest import LARGEST, FileEntry, Manifest
from attention_analyzer.corpus.state_schemas import state_table
from attention_analyzer.errors import AttentionAnalyzerError, FileFormatError, InputError
from attention_analyzer.files import UNFINISHED, write_bytes

_MANIFEST = "manifest.json"
_LOCK = ".lock"
STATE = ("heads", "examples", "kept", "problems")
PARTS = ("texts", "tokens")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Damage:
    """A file of a store that is not as the scan wrote it, and how it differs."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.reason}"


@dataclass(frozen=True)
class Store:
    """Files of one scan."""

    folder: Path

    @property
    def exists(self) -> bool:
        return (self.folder / _MANIFEST).is_file()

    def manifest(self) -> Manifest:
        """What the store says of itself. Warns of a store whose files have no hashes.

        Raises:
            InputError: there is no store here.
            FileFormatError: it is damaged, or written by a newer version.
        """
        path = self.folder / _MANIFEST
        if not path.is_file():
            raise InputError(f"{self.folder} holds no scan ({_MANIFEST} is missing); make one with attn corpus scan.")
        try:
            if path.stat().st_size > LARGEST:
                raise FileFormatError(f"{path} is damaged (it has more than {LARGEST:,} bytes).")
            content = path.read_bytes()
        except OSError as error:
            raise FileFormatError(f"{path} cannot be read ({error.strerror or error}).") from None
        manifest = Manifest.from_json(content, str(path))
        if manifest.files is None:
            warnings.warn(
                f"{self.folder} was written by an earlier version and has no checksums, so damage to its files may go "
                "unnoticed; run the same scan again and they are added.",
                stacklevel=3,
            )
        return manifest

    def read(self, name: str, manifest: Manifest, most_rows: int) -> pa.Table:
        """One of the :data:`STATE` tables, which can have so many rows at most.

        Raises:
            FileFormatError: it is missing or damaged.
        """
        file = _state_file(name, manifest.chunks)
        path = self.folder / file
        try:
            content = path.read_bytes()
            if manifest.files is not None and manifest.files.get(file) != FileEntry.of(content):
                raise FileFormatError(f"{path} is not the file that the scan wrote; the store is damaged.")
        except OSError as error:
            raise FileFormatError(f"{path} cannot be read ({error}); the store is damaged.") from None
        try:
            return state_table(name, content, most_rows)
        except FileFormatError as error:
            raise FileFormatError(f"{path} cannot be read ({error}); the store is damaged.") from None

    def parts(self, name: str, manifest: Manifest) -> dict[int, str]:
        """The files of this kind ("texts" or "tokens") by the number of their chunk, as the manifest lists them."""
        if manifest.files is not None:
            listed = [file for file in manifest.files if file.startswith(f"{name}/")]
        else:
            listed = [f"{name}/{path.name}" for path in (self.folder / name).glob("[0-9]*.parquet")]
        numbers = {int(Path(file).stem): file for file in listed if Path(file).stem.isdecimal()}
        return {number: numbers[number] for number in sorted(numbers) if number < manifest.chunks}

    def damage(self, manifest: Manifest, files: Sequence[str]) -> list[Damage]:
        """Those of the files that are not as they were written."""
        return [Damage(file, reason) for file in files if (reason := self._reason(file, manifest))]

    def verify(self, manifest: Manifest, *, foreign: bool = True) -> list[Damage]:
        """Everything in the folder that is not as the scan left it: listed files that are missing or changed, and
        (unless ``foreign=False``) files that are not of this scan. What an interrupted scan has left behind is
        replaced when it goes on, and is no damage.
        """
        listed = self._listed(manifest)
        found = self.damage(manifest, listed)
        if manifest.files is None:
            found += self.lost_rows(manifest)
        unlisted = [file for file in self._present() if file not in set(listed) and not _is_leftover(file, manifest)]
        lost = {
            manifest.files[each.file]: each.file for each in found if manifest.files and each.file in manifest.files
        }
        renamed = {}
        for file in unlisted:
            entry = _entry_of(self.folder / file)
            origin = lost.get(entry) if entry is not None else None
            if origin is not None:
                renamed[origin] = file
            elif foreign:
                found.append(Damage(file, "is not of this scan"))
        return [
            replace(each, reason=f"{each.reason}; {renamed[each.file]} has its content")
            if each.file in renamed
            else each
            for each in found
        ]

    def lost_rows(self, manifest: Manifest) -> Iterator[Damage]:
        """Where there are no hashes, the parts together must have as many rows as the manifest counts."""
        if not manifest.linked:
            return
        for name, wanted in (("texts", manifest.texts), ("tokens", manifest.tokens)):
            rows = 0
            for file in self.parts(name, manifest).values():
                with suppress(OSError, pa.ArrowException):
                    rows += pq.read_metadata(self.folder / file).num_rows
            if rows != wanted:
                yield Damage(f"{name}/", f"has {rows:,} {name} instead of {wanted:,}: files are missing")

    def adopt(self, manifest: Manifest) -> Manifest:
        """The manifest of an earlier version's store with sizes and hashes of its files as they are now."""
        if manifest.files is not None:
            return manifest
        entries = {file: _entry_of(self.folder / file) for file in self._listed(manifest)}
        return replace(manifest, files={file: entry for file, entry in entries.items() if entry is not None})

    def write_part(self, name: str, number: int, table: pa.Table | None) -> dict[str, FileEntry]:
        """A chunk's texts or tokens, if there are any. They count when a manifest lists what this returns."""
        file = f"{name}/{number:06d}.parquet"
        if table is None:  # what a killed scan may have left there
            (self.folder / file).unlink(missing_ok=True)
            return {}
        return {file: _written(self.folder / file, table)}

    def commit(self, manifest: Manifest, tables: dict[str, pa.Table]) -> Manifest:
        """Let the state tables and the manifest take the place of the ones before; the manifest that lists them.

        Raises:
            AttentionAnalyzerError: the disk is full or not writable; the store stays as it was.
        """
        before = manifest.files or {}
        files = {file: entry for file, entry in before.items() if "/" in file}
        for name, table in tables.items():
            file = _state_file(name, manifest.chunks)
            # What is said of these chunks already stays; until the manifest is replaced, its hashes must hold.
            files[file] = before.get(file) or _written(self.folder / file, table)
        manifest = replace(manifest, files=files)
        _replaced(self.folder / _MANIFEST, manifest.to_json())
        for name in STATE:
            for path in self.folder.glob(f"{name}-*.parquet"):
                if path.name not in files:
                    path.unlink(missing_ok=True)
        for path in self.folder.rglob(f".*{UNFINISHED}"):  # what a killed scan had begun to write
            path.unlink(missing_ok=True)
        return manifest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here meanwhile; the system lets go of the lock of a process that ends in any way.

        Raises:
            InputError: another scan is writing to this store.
        """
        lock = FileLock(self.folder / _LOCK, timeout=0)
        with undone(lock.release):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout:
                raise InputError(
                    f"Another scan is writing to {self.folder}; wait for it, or choose another folder."
                ) from None
            except OSError as error:
                _refuse(self.folder, error)
            yield

    def _listed(self, manifest: Manifest) -> list[str]:
        """The files that count, in order."""
        if manifest.files is not None:
            return sorted(manifest.files)
        states = [_state_file(name, manifest.chunks) for name in STATE] if manifest.chunks else []
        return [*states, *(file for name in PARTS for file in self.parts(name, manifest).values())]

    def _present(self) -> Iterator[str]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_symlink() or not path.is_dir():
                yield path.relative_to(self.folder).as_posix()

    def _reason(self, file: str, manifest: Manifest) -> str:
        """How a file differs from what was written; nothing if it does not."""
        path = self.folder / file
        if path.is_symlink():
            return "is a link, and not the file that the scan wrote"
        if not path.is_file():
            return "is missing"
        try:
            if manifest.files is None:
                pq.read_metadata(path)
                return ""
            wanted = manifest.files[file]
            size = path.stat().st_size
            if size != wanted.size:
                return f"has {size:,} bytes instead of {wanted.size:,}: it was cut off or overwritten"
            return "" if _entry_of(path) == wanted else "has other content than the scan wrote"
        except (OSError, pa.ArrowException) as error:
            return f"cannot be read ({error})"


def told(damage: Sequence[Damage], most: int = 3) -> str:
    """The first of them, in words."""
    more = f" and {len(damage) - most:,} more" if len(damage) > most else ""
    return "; ".join(map(str, damage[:most])) + more


def _state_file(name: str, chunks: int) -> str:
    return f"{name}-{chunks:06d}.parquet"


def _is_leftover(file: str, manifest: Manifest) -> bool:
    """Whether an interrupted scan, or this program, puts such a file beside those that count."""
    path = Path(file)
    number = path.stem.rpartition("-")[2]
    if file in (_MANIFEST, _LOCK) or (path.name.startswith(".") and path.suffix == UNFINISHED):
        return True
    if path.suffix != ".parquet" or not number.isdecimal() or len(number) > 12:
        return False
    if len(path.parts) == 1:
        return path.stem.removesuffix(f"-{number}") in STATE
    return len(path.parts) == 2 and path.parts[0] in PARTS and path.stem == number and int(number) >= manifest.chunks


def _entry_of(path: Path) -> FileEntry | None:
    """Size and hash of a file; None where it cannot be read."""
    digest, size = xxhash.xxh3_128(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError:
        return None
    return FileEntry(size, digest.hexdigest())


def _written(path: Path, table: pa.Table) -> FileEntry:
    sink = pa.BufferOutputStream()
    # Numbers hardly repeat; looking for repetitions in them takes longer than writing them.
    words = [column.name for column in table.schema if pa.types.is_dictionary(column.type)]
    pq.write_table(table, sink, compression="zstd", use_dictionary=words)
    content = sink.getvalue()
    _replaced(path, content)
    return FileEntry.of(content)


def _replaced(path: Path, content: Any) -> None:
    """The file appears whole or not at all, and is on the disk when it does."""
    try:
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, memoryview(content))
    except OSError as error:
        _refuse(path.parent, error)


def _refuse(folder: Path, error: OSError) -> NoReturn:
    raise AttentionAnalyzerError(
        f"The scan could not be written to {folder}: {error.strerror or error}. Completed work is "
        "saved. Free some disk space and run the same command again to resume."
    ) from error
