"""Which files an argument means: a file, a folder, a pattern with * or **, a dataset; and who reads them."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row


@dataclass(frozen=True)
class Source:
    """One file or dataset, its reader, and its size in bytes."""

    path: Path
    reader: Reader
    size: int


def sources(inputs: Iterable[str | Path], readers: Iterable[Reader]) -> list[Source]:
    """Everything that the inputs mean, in their order; the files of a folder or pattern by name.

    Raises:
        InputError: an input means nothing, or a file that was named is of no known kind.
    """
    table = tuple(readers)
    found: list[Source] = []
    for given in inputs:
        named = Path(given)
        if named.exists():
            paths = [named]
        else:
            # Path.glob takes no absolute pattern.
            paths = sorted(Path(match) for match in glob.glob(str(given), recursive=True))  # noqa: PTH207
        if not paths:
            raise InputError(
                f"There is no file, folder or dataset {str(given)!r}, and nothing matches it as a pattern."
            )
        before = len(found)
        for path in paths:
            found += _of(path, table, must=paths == [named])
        if len(found) == before:
            raise InputError(f"{str(given)!r} holds no file that can be read; {_known(table)}.")
    return found


def read_source(source: Source, options: ReadOptions) -> Iterator[Row | BadRow]:
    """The rows of one source; a file that cannot be opened, or not be read any further, is one bad row.

    Raises:
        InputError: the source has no text of the kind that was asked for.
    """
    try:
        yield from source.reader.read(source.path, options)
    except OSError as error:
        yield BadRow(str(source.path), f"it cannot be read any further ({error.strerror or error})", 1.0)
    except FileFormatError as error:
        yield BadRow(str(source.path), f"it cannot be read any further: {error}", 1.0)


def _of(path: Path, table: tuple[Reader, ...], must: bool) -> Iterator[Source]:
    reader = next((reader for reader in table if reader.reads(path)), None)
    if reader is not None:
        yield Source(path, reader, _size(path))
    elif path.is_dir():
        for inside in sorted(path.rglob("*")):
            if inside.is_file() and not inside.name.startswith("."):
                yield from _of(inside, table, must=False)
    elif must:
        raise InputError(f"{path} is of no kind that can be read; {_known(table)}.")


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())
    return path.stat().st_size


def _known(table: tuple[Reader, ...]) -> str:
    suffixes = [suffix for reader in table for suffix in reader.suffixes]
    return f"known are {', '.join(suffixes)} (also with .gz) and folders of Hugging Face datasets"
