"""From inputs of any kind to chunks of texts: the same at every run, so that a scan can go on where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xxhash

from attention_analyzer.errors import InputError
from attention_analyzer.text.readers import READERS, BadRow, ReadOptions, Row, Source, read_source, sources
from attention_analyzer.text.readers.row import SHOWN
from attention_analyzer.text.tokenization import check_text

#: Texts and characters of a chunk: what is lost at most when a scan is killed, and what memory holds.
CHUNK_TEXTS = 1024
CHUNK_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Problem:
    """A row that was left out: its number, where it is, why, and its first characters where they are known."""

    row: int
    place: str
    reason: str
    start: str = ""

    @classmethod
    def of(cls, number: int, row: Row | BadRow, reason: str = "") -> Problem:
        start = row.start if isinstance(row, BadRow) else row.text if isinstance(row.text, str) else row.text[0]
        start = start[:SHOWN].encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be stored
        return cls(number, row.place, reason or getattr(row, "reason", ""), start)

    def __str__(self) -> str:
        begins = f" (it begins {self.start!r})" if self.start else ""
        return f"Row {self.row} cannot be used: {self.place}: {self.reason}{begins}"


@dataclass(frozen=True)
class Chunk:
    """A run of rows.

    Attributes:
        number: of the chunk; ``first``: number of its first row; ``stop``: of the first row after it.
        texts: row numbers and rows that can be analyzed.
        problems: the others.
        digest: of all rows up to ``stop``, from the first of the input.
        share: how much of the input has been read, if known.
    """

    number: int
    first: int
    stop: int
    texts: tuple[tuple[int, Row], ...]
    problems: tuple[Problem, ...]
    digest: str
    share: float | None


@dataclass
class Rows:
    """All rows of the inputs, once, with a running digest of them."""

    inputs: Iterable[Row | BadRow]
    count: int = 0
    _digest: Any = field(default_factory=xxhash.xxh3_128)

    def __post_init__(self) -> None:
        self._rest = iter(self.inputs)

    @property
    def digest(self) -> str:
        return str(self._digest.hexdigest())

    def __iter__(self) -> Iterator[Row | BadRow]:
        for row in self._rest:
            for part in (row.reason,) if isinstance(row, BadRow) else _parts(row):
                self._digest.update(str(part).encode("utf-8", "surrogatepass") + b"\0")
            self._digest.update(b"\1" if isinstance(row, BadRow) else b"\2")
            self.count += 1
            yield row

    def skip(self, count: int, digest: str) -> None:
        """Read past the rows that a store has already.

        Raises:
            InputError: they are not those that it has.
        """
        if count:
            for _ in self:
                if self.count == count:
                    break
        if self.count < count:
            raise InputError(
                f"The store has {count:,} rows of the input, but the input now has only {self.count:,}; "
                "give the original input or another folder."
            )
        if count and self.digest != digest:
            raise InputError(
                f"The first {count:,} rows of the input differ from those of the existing scan; "
                "give that input or another folder."
            )

    def chunks(self, number: int) -> Iterator[Chunk]:
        """The rest of the rows in chunks, numbered from ``number``."""
        first, characters, share = self.count, 0, None
        texts: list[tuple[int, Row]] = []
        problems: list[Problem] = []
        for row in self:
            share = row.share
            index = self.count - 1
            if isinstance(row, BadRow):
                problems.append(Problem.of(index, row))
            elif reason := _unusable(row):
                problems.append(Problem.of(index, row, reason))
            else:
                texts.append((index, row))
                characters += sum(map(len, _parts(row)))
            if self.count - first == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
                yield Chunk(number, first, self.count, tuple(texts), tuple(problems), self.digest, share)
                number, first, characters, texts, problems = number + 1, self.count, 0, [], []
        if self.count > first:
            yield Chunk(number, first, self.count, tuple(texts), tuple(problems), self.digest, share)


def rows_of(inputs: Any, options: ReadOptions) -> Iterator[Row | BadRow]:
    """Rows of files, or of texts in memory.

    Args:
        inputs: a file, folder, pattern or dataset, or a list of them (:class:`~pathlib.Path`, or a string that names
            something); or any iterable of texts or pairs.

    Raises:
        InputError: a file is not there, or of no known kind.
    """
    given = [inputs] if isinstance(inputs, (str, Path)) else inputs
    if not isinstance(given, Iterable):
        raise InputError(f"Files or texts were expected, not {type(inputs).__name__}.")
    if isinstance(inputs, (str, Path)) or (isinstance(given, (list, tuple)) and _names_files(given)):
        return _from_sources(sources(given, READERS), options)
    return _from_texts(given)


def _names_files(given: list[Any] | tuple[Any, ...]) -> bool:
    """Whether all of a list are paths; strings are, if each is something that is there."""
    return bool(given) and all(isinstance(each, Path) or (isinstance(each, str) and _is_there(each)) for each in given)


def _is_there(name: str) -> bool:
    try:
        return len(name) < 1024 and Path(name).exists()
    except (OSError, ValueError):
        return False


def _from_sources(found: list[Source], options: ReadOptions) -> Iterator[Row | BadRow]:
    total, before = max(sum(source.size for source in found), 1), 0
    for source in found:
        for row in read_source(source, options):
            share = None if row.share is None else (before + row.share * source.size) / total
            yield replace(row, share=share)
        before += source.size


def _from_texts(texts: Iterable[Any]) -> Iterator[Row | BadRow]:
    total = len(texts) if isinstance(texts, Sized) else None
    for number, text in enumerate(texts):
        share = None if total is None else (number + 1) / total
        if isinstance(text, Row):
            yield text
        elif isinstance(text, str) or (isinstance(text, tuple) and len(text) == 2):
            yield Row(text, f"text {number}", share=share)
        else:
            yield BadRow(f"text {number}", f"a {type(text).__name__} is no text", share)


def _parts(row: Row) -> tuple[str, ...]:
    return row.text if isinstance(row.text, tuple) else (row.text,)


def _unusable(row: Row) -> str:
    """Why no tokenizer can take the text, or nothing."""
    try:
        for part in _parts(row):
            check_text(part)
    except InputError as error:
        return str(error).removesuffix(".")
    return ""
