"""Bytes to text: UTF-8, what a byte-order mark or the zeros of UTF-16 tell for certain, or the encoding that was named.

Nothing is guessed: a wrong guess gives wrong words without a sign of it. What is not UTF-8 is refused with the line,
and with how it would read in the encoding that Windows writes most, so that it can be asked for.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import IO, Any

from attention_analyzer.errors import InputError

UTF8 = "utf-8"
#: Stands for bytes that are no characters; no text can hold it.
_BAD = "\udfff"
_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Bytes that are looked at to tell an encoding.
HEAD = 1 << 16
_PIECE = 1 << 16
#: Letters and signs of Western European text in cp1252; others, such as ¹ or þ in a word, tell of another encoding.
_WESTERN = re.compile(r"[\t\x20-\x7eÀ-ÏÑ-ÖØ-Üß-ïñ-öø-üÿ€‚ƒ„…†‡‰Š‹ŒŽ‘’“”•–—™š›œžŸ\xa0¡¢£§©ª«®°±²´µ·º»¼½¾¿]*")


def encoding_of(head: bytes, asked: str | None = None) -> str:
    """The name of the codec for bytes that begin like this.

    Args:
        asked: what the user named; a byte-order mark is believed before it, because no text begins with its characters.

    Raises:
        InputError: there is no text encoding of the name that was asked for.
    """
    if asked is not None:
        asked = checked_encoding(asked)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return asked or _utf16_by_zeros(head) or UTF8


def checked_encoding(name: str) -> str:
    """The codec's own name.

    Raises:
        InputError: there is no text encoding of this name.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)  # refuses codecs such as hex, which are not of texts
        found = codecs.lookup(name)
    except (LookupError, TypeError, ValueError):
        found = None
    if found is None or found.incrementaldecoder is None:
        raise InputError(
            f"There is no text encoding {name!r}; common ones are utf-8, utf-16, cp1252 (Windows), latin-1, cp1251, "
            "gb18030, big5 and shift_jis."
        )
    return found.name


def decode(data: bytes, source: str, encoding: str | None = None) -> str:
    """All of a text; line ends of Windows and old Macs become those of everybody else, a byte-order mark is left out.

    Raises:
        InputError: it is not UTF-8 (or what was asked for), with the line and what to do.
    """
    codec = encoding_of(data[:HEAD], encoding)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(codec, "ignore")
        line = before.count("\n") + 1
        first = data.rfind(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source}, line {line}: {not_text(data[first : first + 200].splitlines()[0], codec)}."
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def not_text(line: bytes, codec: str) -> str:
    """Why a line could not be decoded, and what to do."""
    if codec != UTF8:
        return f"the line is not {codec} text; set the encoding of the file"
    western = line.rstrip(b"\r\n").decode("cp1252", "replace")
    if _WESTERN.fullmatch(western) and len(re.findall(r"[^\x00-\x7f]{3}", western)) == 0:
        at = next(index for index, character in enumerate(western) if character > "\x7f")
        shown = western[max(at - 15, 0) : at + 15]
        return f"the line is not UTF-8 text; if it should read {shown!r}, set the encoding cp1252"
    others = "such as cp1251, gb18030 or shift_jis"
    return f"the line is not UTF-8 text; set the encoding of the file, {others}"


class AsUtf8(io.RawIOBase):
    """A stream of another encoding as UTF-8; bytes that are no characters become bytes that are no UTF-8.

    Args:
        content: the stream; read by lines, which bounded streams watch.
        old_mac: whether its lines end in a carriage return alone.
    """

    def __init__(self, content: IO[bytes], codec: str, old_mac: bool) -> None:
        self._content, self._old_mac = content, old_mac
        self._decoder = codecs.getincrementaldecoder(codec)(_MARK_BAD)
        self._rest, self._over = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._over:
            piece = self._content.readline(_PIECE)
            self._over = not piece
            text = self._decoder.decode(piece, self._over)
            text = text.replace("\r", "\n") if self._old_mac else text
            self._rest = text.encode(UTF8, "surrogatepass")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def is_old_mac(head: bytes, codec: str) -> bool:
    """Whether lines end in a carriage return alone, as some spreadsheets still write them; not those inside quotes."""
    text = re.sub(r'"[^"]*"', "", head.decode(codec, "ignore"))
    return "\r" in text and "\n" not in text


def _utf16_by_zeros(head: bytes) -> str | None:
    """UTF-16 without a mark: letters of ASCII have a zero at every other byte, and no text has any at others."""
    sample = head[: len(head) // 2 * 2][:4096]
    if len(sample) < 4:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    most = len(sample) // 2 * 0.4
    if odd > most and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > most and odd == 0 else None


_MARK_BAD = "attention_analyzer.mark_bad"
codecs.register_error(_MARK_BAD, lambda error: (_BAD, getattr(error, "end", 0)))
