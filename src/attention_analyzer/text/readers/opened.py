"""Lines of a text file with their numbers, plain or gzipped; a line that cannot be used costs itself only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from attention_analyzer.text.readers.bounds import BoundedGzip, bounded_lines, too_long

_NOT_UTF8 = "the line is not UTF-8 text; convert the file first"


class Lines:
    """The lines of a file.

    Attributes:
        number: of the line given last, from one; ``share``: how much of the file has been read.
        problem: what is wrong with the line given last, where it is None.
    """

    def __init__(self, raw: IO[bytes], content: IO[bytes], size: int) -> None:
        self.raw, self.content, self.size = raw, content, size
        self.number = 0
        self.problem = ""

    @property
    def share(self) -> float:
        return min(self.raw.tell() / self.size, 1.0) if self.size else 1.0

    def __iter__(self) -> Iterator[str | None]:
        """Each line without its end; None for one that is not UTF-8 or too long.

        Raises:
            FileFormatError: a gzipped file is damaged or a gzip bomb.
        """
        for line in bounded_lines(self.content):
            self.number += 1
            if line is None:
                self.problem = too_long("line")
                yield None
                continue
            line = line.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else line
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                self.problem = _NOT_UTF8
                yield None


@contextmanager
def lines_of(path: Path) -> Iterator[Lines]:
    """The lines of a file, which is closed afterwards."""
    with path.open("rb") as raw:
        content = cast("IO[bytes]", BoundedGzip(raw)) if path.suffix.lower() == ".gz" else raw
        yield Lines(raw, content, path.stat().st_size)
