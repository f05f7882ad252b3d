"""Lines of a text file with their numbers, plain or gzipped; a line that cannot be used costs itself only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.decoding import HEAD, UTF8, AsUtf8, encoding_of, is_old_mac, not_text
from attention_analyzer.text.readers.bounds import MAX_TEXT, BoundedGzip, bounded_lines, too_long


class Lines:
    """The lines of a file.

    Attributes:
        number: of the line given last, from one; ``share``: how much of the file has been read.
        problem: what is wrong with the line given last, where it is None.
    """

    def __init__(self, raw: IO[bytes], content: IO[bytes], size: int, codec: str) -> None:
        self.raw, self.content, self.size, self.codec = raw, content, size, codec
        self.number = 0
        self.problem = ""

    @property
    def share(self) -> float:
        return min(self.raw.tell() / self.size, 1.0) if self.size else 1.0

    def __iter__(self) -> Iterator[str | None]:
        """Each line without its end; None for one that is too long, or not text in the file's encoding.

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
                yield line.decode(UTF8).rstrip("\r\n")
            except UnicodeDecodeError:
                self.problem = not_text(line, self.codec)
                yield None


@contextmanager
def lines_of(path: Path, encoding: str | None = None) -> Iterator[Lines]:
    """The lines of a file, which is closed afterwards.

    Args:
        encoding: of the file; by default UTF-8, or UTF-16 or UTF-32 where the file shows it.

    Raises:
        InputError: there is no such encoding.
        FileFormatError: a gzipped file is damaged.
    """
    with path.open("rb") as raw:
        head = _head(_unpacked(path, raw))
        codec = encoding_of(head, encoding)
        old_mac = is_old_mac(head, codec)
        raw.seek(0)
        content = _unpacked(path, raw)
        if codec != UTF8 or old_mac:
            content = cast("IO[bytes]", io.BufferedReader(AsUtf8(content, codec, old_mac)))
        yield Lines(raw, content, path.stat().st_size, codec)


def bytes_of(path: Path) -> bytes:
    """All of a small file, unpacked.

    Raises:
        OSError: it cannot be read.
        FileFormatError: it is larger than any text is, or a gzipped file is damaged.
    """
    size, pieces = 0, []
    with path.open("rb") as raw:
        content = _unpacked(path, raw)
        while piece := content.readline(MAX_TEXT):
            size += len(piece)
            if size > 4 * MAX_TEXT:
                raise FileFormatError(f"it holds more than {4 * MAX_TEXT:,} bytes, too many for one text")
            pieces.append(piece)
    return b"".join(pieces)


def _head(content: IO[bytes]) -> bytes:
    """The first bytes, read by lines as bounded streams are."""
    head = b""
    while piece := content.readline(HEAD - len(head)) if len(head) < HEAD else b"":
        head += piece
    return head


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", BoundedGzip(raw)) if path.suffix.lower() == ".gz" else raw
