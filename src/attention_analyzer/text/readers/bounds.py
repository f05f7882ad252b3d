"""How much a reader builds at most, so that a small file cannot fill the memory.

Compressed files may unpack to thousands of times their size. Whatever is larger than these bounds is skipped piece by
piece, and the row is reported with its place and the reason.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import IO

from attention_analyzer.errors import FileFormatError

#: Longest line, in bytes, and longest text, in characters.
MAX_TEXT = 1 << 24
#: Gzipped text shrinks to a tenth or so. What unpacks to more than ``MAX_RATIO`` times its size is a gzip bomb,
#: unless it is small anyway.
MAX_RATIO = 200
FREE_BYTES = 1 << 26
_PIECE = 1 << 16


def too_long(what: str) -> str:
    """The reason to skip a line, text or record that is longer than :data:`MAX_TEXT`."""
    return f"the {what} is longer than {MAX_TEXT:,} characters; split it first"


def bounded_lines(content: IO[bytes]) -> Iterator[bytes | None]:
    """The lines of a stream; None for one that is longer than :data:`MAX_TEXT`, which is never held as a whole."""
    while line := content.readline(MAX_TEXT + 1):
        if len(line) <= MAX_TEXT:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = content.readline(_PIECE)
        yield None


class BoundedGzip(gzip.GzipFile):
    """A gzipped stream that stops where it unpacks to far more than it can honestly hold.

    Raises:
        FileFormatError: when read: the stream is damaged, cut off, or a gzip bomb.
    """

    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(fileobj=packed)
        self.packed = packed

    def readline(self, size: int | None = -1) -> bytes:
        """The next line, or the first ``size`` bytes of it."""
        try:
            line = super().readline(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"the gzipped file is damaged ({error})") from None
        if self.tell() > max(FREE_BYTES, MAX_RATIO * self.packed.tell()):
            raise FileFormatError(
                f"it unpacks to more than {MAX_RATIO} times its size; unpack it first if that is meant"
            )
        return line
