"""The viewer's file format: a JSON header and numbered binary blocks, in one run of bytes.

Specified in ``docs/payload.md``. The container knows nothing of attention, so that content may grow without a new
version: readers ignore header keys that they do not know, and only a change of the layout raises ``VERSION``.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attention_analyzer.errors import FileFormatError
from attention_analyzer.fields import Fields, is_whole, shown

MAGIC = b"\x89ATV\r\n\x1a\n"
VERSION = 1
#: magic, version, header length, header checksum, flags (zero), total length
PRELUDE = struct.Struct("<8sIIIIQ")

_ENCODINGS = ("raw", "deflate", "planes+deflate")
#: Deflate packs at most about this many bytes into one.
_DEFLATED_AT_MOST = 1032
_DTYPES = {"uint8": "|u1", "int32": "<i4", "float16": "<f2", "float32": "<f4"}


@dataclass
class PayloadWriter:
    """Collects blocks, then joins them with a header. Equal blocks (a mask shared by all layers) are stored once.

    Args:
        deflate: whether blocks of arrays are compressed: smaller, but slower to write.
    """

    deflate: bool = True
    _stored: list[bytes] = field(default_factory=list)
    _entries: list[dict[str, Any]] = field(default_factory=list)
    _known: dict[tuple[bytes, str, tuple[int, ...]], int] = field(default_factory=dict)

    def add(self, array: np.ndarray) -> int:
        """Store an array; returns the number of its block.

        Wider numbers are split into byte planes first: the high bytes of neighboring floats are alike and deflate
        well, while their low bytes are noise.
        """
        dtype = array.dtype.name
        plain = np.ascontiguousarray(array, dtype=_DTYPES[dtype])
        raw = plain.tobytes()
        key = (raw, dtype, plain.shape)
        if key in self._known:
            return self._known[key]
        encoding, data = self._encoded(plain, raw) if self.deflate else ("raw", raw)
        number = self._append(data, {"dtype": dtype, "shape": list(plain.shape), "encoding": encoding})
        self._known[key] = number
        return number

    def add_deflated(self, deflated: bytes, size: int) -> int:
        """Store bytes that are no array, such as a program the page loads later, and that were deflated before.

        Args:
            size: how many bytes they were.
        """
        return self._append(deflated, {"dtype": "uint8", "shape": [size], "encoding": "deflate"})

    def finish(self, header: dict[str, Any]) -> bytes:
        """The whole payload. ``header`` must be plain JSON; NaN and infinity are refused."""
        return b"".join(self.parts(header))

    def parts(self, header: dict[str, Any]) -> list[bytes]:
        """The payload in pieces: prelude with header first, then every block."""
        return [_head({**header, "blocks": self._entries}, sum(map(len, self._stored))), *self._stored]

    @staticmethod
    def _encoded(plain: np.ndarray, raw: bytes) -> tuple[str, bytes]:
        width = plain.itemsize
        planes = raw if width == 1 else plain.view(np.uint8).reshape(-1, width).T.tobytes()
        deflated = zlib.compress(planes, 6 if len(raw) < 1 << 18 else 1)
        if len(deflated) >= len(raw):
            return "raw", raw
        return "deflate" if width == 1 else "planes+deflate", deflated

    def _append(self, data: bytes, entry: dict[str, Any]) -> int:
        offset = sum(int(known["stored"]) for known in self._entries)
        self._entries.append({"offset": offset, "stored": len(data), "crc": zlib.crc32(data), **entry})
        self._stored.append(data)
        return len(self._entries) - 1


def with_state(data: bytes, state: Mapping[str, Any]) -> bytes:
    """The same payload with another state to show first; its blocks are taken over as they are.

    Raises:
        FileFormatError: the bytes are no payload.
    """
    header = {**read_payload(data).header, "state": dict(state)}
    body = memoryview(data)[PRELUDE.size + PRELUDE.unpack_from(data)[2] :]
    return b"".join([_head(header, len(body)), body])


def _head(header: dict[str, Any], size: int) -> bytes:
    """Prelude and header, in front of ``size`` bytes of blocks."""
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    # A lone surrogate is a legal Python string but no legal UTF-8; it must not stop the whole page.
    encoded = text.encode("utf-8", errors="replace")
    total = PRELUDE.size + len(encoded) + size
    return PRELUDE.pack(MAGIC, VERSION, len(encoded), zlib.crc32(encoded), 0, total) + encoded


@dataclass(frozen=True)
class Payload:
    """A payload that was read: its header, and its blocks on demand."""

    header: dict[str, Any]
    _body: memoryview

    def block(self, number: int) -> np.ndarray:
        """One block as an array, its checksum verified.

        Raises:
            FileFormatError: the block does not exist, is cut, or was altered.
        """
        blocks = self.header["blocks"]
        if not 0 <= number < len(blocks):
            raise FileFormatError(f"The payload has {len(blocks)} blocks, but block {number} was asked for.")
        entry = blocks[number]
        data = bytes(self._body[entry["offset"] : entry["offset"] + entry["stored"]])
        if len(data) != entry["stored"] or zlib.crc32(data) != entry["crc"]:
            raise FileFormatError(f"Block {number} of the payload was altered: its checksum does not match.")
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        size = math.prod(entry["shape"]) * dtype.itemsize
        raw = data if entry["encoding"] == "raw" else _inflated(data, size)
        if len(raw) != size:
            raise FileFormatError(f"Block {number} of the payload does not have the size that its shape asks for.")
        if entry["encoding"] == "planes+deflate":
            raw = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
        return np.frombuffer(raw, dtype).reshape(entry["shape"])


def read_payload(data: bytes) -> Payload:
    """Read a payload's header and check that it is whole.

    Raises:
        FileFormatError: the bytes are no payload, were cut or altered, or come from a newer version.
    """
    if len(data) < PRELUDE.size:
        raise FileFormatError(f"A payload has at least {PRELUDE.size} bytes, but there are {len(data)}.")
    magic, version, length, checksum, flags, total = PRELUDE.unpack_from(data)
    if magic != MAGIC:
        raise FileFormatError("These bytes are no attention payload: they do not start with its signature.")
    if version > VERSION:
        raise FileFormatError(
            f"The payload has version {version}, but this program reads up to {VERSION}: update attention-analyzer."
        )
    if total != len(data):
        raise FileFormatError(f"The payload should have {total} bytes, but there are {len(data)}: it was cut.")
    if version < 1 or flags:
        raise FileFormatError("The payload's beginning was altered.")
    body = memoryview(data)[PRELUDE.size :]
    if zlib.crc32(body[:length]) != checksum:
        raise FileFormatError("The payload's header was altered: its checksum does not match.")
    header = Fields.parse(str(body[:length], "utf-8", "replace"), "The payload's header")
    for number, entry in enumerate(header.items("blocks")):
        _check_entry(Fields.of(entry, f"Block {number} of the payload"), len(body) - length)
    return Payload(header.entries, body[length:])


def _check_entry(entry: Fields, size: int) -> None:
    """A block lies in the payload, and can be no larger than deflate packs it."""
    offset, stored = entry.whole("offset", 0, size), entry.whole("stored", 0, size)
    entry.whole("crc", 0, (1 << 32) - 1)
    dtype, encoding, shape = entry.text("dtype"), entry.text("encoding"), entry.items("shape")
    if offset + stored > size or dtype not in _DTYPES or encoding not in _ENCODINGS:
        raise FileFormatError(f"{entry.name} lies outside of it, or is stored in a way that is not known.")
    if not all(is_whole(each) and each >= 0 for each in shape):
        raise FileFormatError(f"{entry.name} has the shape {shown(shape)}, which no array has.")
    if math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize > _DEFLATED_AT_MOST * (stored + 1):
        raise FileFormatError(f"{entry.name} would be larger than its bytes can hold.")


def _inflated(data: bytes, size: int) -> bytes:
    """At most one byte more than ``size``, whatever the data would unpack to."""
    try:
        return zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise FileFormatError(f"A block of the payload cannot be unpacked: {error}.") from None
