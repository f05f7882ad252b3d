"""How large the pages of a Parquet column are once unpacked, from their headers alone.

A page is the smallest thing that can be unpacked, and a file of some kilobytes can have one of gigabytes. What the
file's footer says of sizes is not what is allocated; the pages' own headers are. They are structs of Thrift's compact
protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), of which fields 1 to 3 are
the page's kind, its size unpacked and its size packed (https://github.com/apache/parquet-format/blob/master/src/main/
thrift/parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from attention_analyzer.errors import FileFormatError

_UNPACKED, _PACKED = 2, 3
#: Headers hold statistics, which may be some kilobytes; larger ones are refused.
_LONGEST_HEADER = 1 << 20
_DEEPEST = 16
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)


def page_sizes(file: IO[bytes], start: int, size: int) -> Iterator[int]:
    """Bytes of each page when it is unpacked, of a column chunk that lies at ``[start, start + size)``.

    Raises:
        FileFormatError: a header is damaged.
    """
    at, stop = start, start + size
    while at < stop:
        file.seek(at)
        header = _Header(file.read(min(_LONGEST_HEADER, stop - at)))
        fields = header.integers()
        unpacked, packed = fields.get(_UNPACKED, -1), fields.get(_PACKED, -1)
        if unpacked < 0 or packed < 0:
            raise FileFormatError("a page has no size")
        yield unpacked
        at += header.at + packed


class _Header:
    """One struct of the compact protocol at the start of some bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def integers(self) -> dict[int, int]:
        """The integer fields of the struct by their numbers; everything else is skipped.

        Raises:
            FileFormatError: it is damaged.
        """
        try:
            return self._struct(0)
        except IndexError:
            raise FileFormatError("a page's header is cut off") from None

    def _struct(self, depth: int) -> dict[int, int]:
        found: dict[int, int] = {}
        number = 0
        while (head := self._byte()) != _STOP:
            kind, step = head & 15, head >> 4
            number = number + step if step else self._zigzag()
            if kind in _INTEGERS:
                found[number] = self._zigzag()
            elif kind not in (_TRUE, _FALSE):  # whose value is the kind itself
                self._skip(kind, depth + 1)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise FileFormatError("a page's header is nested too deeply")
        if kind in (_TRUE, _FALSE, _BYTE):
            self.at += 1
        elif kind in _INTEGERS:
            self._varint()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            self._skip_all([head & 15], count, depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._skip_all([kinds >> 4, kinds & 15], count, depth)
        elif kind == _STRUCT:
            self._struct(depth)
        else:
            raise FileFormatError(f"a page's header has a field of the unknown kind {kind}")

    def _skip_all(self, kinds: list[int], count: int, depth: int) -> None:
        for _ in range(count):  # ends with the bytes, as every entry takes one at least
            for kind in kinds:
                self._skip(kind, depth + 1)
                if self.at > len(self.content):
                    raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise FileFormatError("a page's header has a number that is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
