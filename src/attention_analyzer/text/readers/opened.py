"""Lines of a text file with their numbers, plain or gzipped; bytes that are not UTF-8 spoil their own line only."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast


class Lines:
    """The lines of a file.

    Attributes:
        number: of the line given last, from one; ``share``: how much of the file has been read.
    """

    def __init__(self, raw: IO[bytes], content: IO[bytes], size: int) -> None:
        self.raw, self.content, self.size = raw, content, size
        self.number = 0

    @property
    def share(self) -> float:
        return min(self.raw.tell() / self.size, 1.0) if self.size else 1.0

    def __iter__(self) -> Iterator[str | None]:
        """Each line without its end; None for one that is not UTF-8."""
        for line in self.content:
            self.number += 1
            line = line.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else line
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield None

    @property
    def not_utf8(self) -> str:
        return "the line is not UTF-8 text; convert the file first"


@contextmanager
def lines_of(path: Path) -> Iterator[Lines]:
    """The lines of a file, which is closed afterwards."""
    with path.open("rb") as raw:
        content = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw
        yield Lines(raw, content, path.stat().st_size)
