"""Files that come back as they were written: replaced as a whole, with a checksum inside, in folders of one's own.

A file is written beside its place, flushed to the disk and renamed into it, so a full disk or a killed process leaves
the old file as it was. A checksum stands in the file itself, as ``attention_analyzer:xxh3:`` and 32 hexadecimal digits;
it is the XXH3 hash of all bytes with those digits read as zeros, so that no byte is left out, whatever the format.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import secrets
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_analyzer.errors import FileFormatError, InputError

#: Ends the name of a file that is not finished.
UNFINISHED = ".part"
_MARK = b"attention_analyzer:xxh3:"
_DIGITS = 32
_CHECKSUM = re.compile(re.escape(_MARK) + rb"([0-9a-f]{%d})" % _DIGITS)
#: A text may happen to quote a checksum; more than this many are no accident.
_MOST_QUOTED = 16
#: JSON of ours is a description, not data.
_LARGEST_JSON = 1 << 26


# Whole or not at all


@contextmanager
def replaced(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """A place beside ``path`` to write to; when the block ends well, that file takes the place of ``path``.

    After an error the file that was there is as before, and nothing is left beside it.

    Args:
        durable: whether it is waited until the file is on the disk, so that it is there after a power cut; what can be
            made again, and has a checksum, needs not wait.

    Raises:
        OSError: the place cannot be written to, or is no regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}{UNFINISHED}")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        yield beside
        if durable:
            _flush(beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    if durable:
        _flush_folder(target.parent)


@contextmanager
def exported(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """As :func:`replaced`, for a file that the user asked for.

    Raises:
        InputError: it cannot be written; the file that was there is as before.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(
            f"{target} could not be written: the folder {target.parent} does not exist; make it, or save elsewhere."
        )
    try:
        with replaced(target, durable=durable) as beside:
            yield beside
    except OSError as error:
        kept = "; the file that was there is unchanged" if target.is_file() else ""
        raise InputError(f"{target} could not be written: {error.strerror or error}{kept}.") from None


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Replace a file by these bytes.

    Raises:
        OSError: the place cannot be written to.
    """
    with replaced(path) as beside:
        beside.write_bytes(content)


# Checksums


def draft_checksum() -> str:
    """What to write where the checksum will stand; no other file contains it. :func:`seal` puts the checksum there."""
    return _MARK.decode() + secrets.token_hex(_DIGITS // 2)


def seal(path: Path, draft: str) -> None:
    """Put the checksum of a file where the draft stands in it.

    Raises:
        ValueError: the draft does not stand in the file.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        _seal(content, draft)


def has_checksum(path: Path) -> bool:
    """Whether a file carries a checksum; it is verified.

    Raises:
        FileFormatError: the file is not as it was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _is_sealed(content, path)


def require_checksum(path: Path, *, is_old: bool, what: str) -> None:
    """Verify the checksum of a file, which only a file in an old format may lack; such a one is warned of.

    Args:
        is_old: whether its format had none.
        what: the file, to begin a sentence with: "The record a.attn".

    Raises:
        FileFormatError: the file is not as it was written, or lost its checksum.
    """
    try:
        found = has_checksum(path)
    except OSError as error:
        raise FileFormatError(f"{what} cannot be read: {error.strerror or error}.") from None
    if found:
        return
    if not is_old:
        raise FileFormatError(f"{what} has lost its checksum: it was cut or altered.")
    warn_of_old(what)


def checksum(path: Path) -> str:
    """The XXH3 hash of a file, 32 hexadecimal digits, for names and lists of files that cannot carry their own.

    Raises:
        OSError: it cannot be read.
    """
    import xxhash

    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            hashed.update(part)
    return hashed.hexdigest()


def warn_of_old(what: str) -> None:
    """Warn that a file in an old format has no checksum; once for each file."""
    warnings.warn(
        f"{what} was written by an older version, without a checksum, so damage to it cannot be noticed; "
        "save it again to add one.",
        stacklevel=3,
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by a JSON object with its checksum.

    Raises:
        OSError: the place cannot be written to.
    """
    draft = draft_checksum()
    text = json.dumps({**content, "checksum": draft}, ensure_ascii=False, indent=1) + "\n"
    encoded = bytearray(text.encode("utf-8", "surrogatepass"))
    _seal(encoded, draft)
    write_bytes(path, bytes(encoded))


def read_json(path: Path) -> tuple[dict[str, Any], bool]:
    """A JSON object, and whether it had a checksum, which is verified and left out.

    Raises:
        FileFormatError: the file is missing, too large, no JSON object, or not as it was written.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise FileFormatError(f"{path} is larger than any description of ours: {path.stat().st_size:,} bytes.")
        encoded = path.read_bytes()
        is_sealed = _is_sealed(encoded, path)
        found: Any = json.loads(encoded.decode("utf-8", "surrogatepass"))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise FileFormatError(f"{path} holds no JSON object.")
    return {name: value for name, value in found.items() if name != "checksum"}, is_sealed


def _seal(content: mmap.mmap | bytearray, draft: str) -> None:
    mark = draft.encode()
    places = _places(content, mark)
    if not places:
        raise ValueError("the file does not contain the draft of its checksum")
    digits = _digest(content, places, len(mark)).encode()
    for place in places:
        content[place + len(mark) - _DIGITS : place + len(mark)] = digits


def _is_sealed(content: mmap.mmap | bytes, path: Path) -> bool:
    found = _CHECKSUM.finditer(content, *_description(content))
    marks = {match[0] for match, _ in zip(found, range(_MOST_QUOTED), strict=False)}
    for mark in marks:
        if _digest(content, _places(content, mark), len(mark)).encode() == mark[-_DIGITS:]:
            return True
    if marks:
        raise FileFormatError(f"{path} was cut or altered after it was written: its checksum does not match.")
    return False


def _places(content: mmap.mmap | bytearray | bytes, mark: bytes) -> list[int]:
    start, stop = _description(content)
    places, place = [], content.find(mark, start, stop)
    while place >= 0:
        places.append(place)
        place = content.find(mark, place + len(mark), stop)
    return places


def _description(content: mmap.mmap | bytearray | bytes) -> tuple[int, int]:
    """Where a checksum can stand: a safetensors file's header, a Parquet file's footer; else anywhere.

    To look for it in the data would take longer than the checksum itself.
    """
    size = len(content)
    if content[8:9] == b"{":
        return 0, min(size, 8 + int.from_bytes(content[:8], "little"))
    if content[-4:] == b"PAR1":
        return max(0, size - 8 - int.from_bytes(content[-8:-4], "little")), size
    return 0, size


def _digest(content: mmap.mmap | bytearray | bytes, places: list[int], length: int) -> str:
    """Of all bytes, with the digits at these places read as zeros."""
    import xxhash

    hashed, start = xxhash.xxh3_128(), 0
    with memoryview(content) as view:
        for place in places:
            with view[start : place + length - _DIGITS] as before:
                hashed.update(before)
            hashed.update(b"0" * _DIGITS)
            start = place + length
        with view[start:] as after:
            hashed.update(after)
    return hashed.hexdigest()


# Folders of one's own


def private_folder(folder: Path) -> str | None:
    """Make a folder that only the user can enter; why one that is there cannot be trusted, or None.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not folder.exists() and folder not in missing:
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        folder = each
    return not_only_mine(folder)


def not_only_mine(path: Path) -> str | None:
    """Why somebody else could have written a file or folder, as a sentence; None if only this user can.

    Raises:
        OSError: it cannot be looked at.
    """
    if not hasattr(os, "geteuid"):  # Windows: the user's own folders are private there
        return None
    status = path.stat()
    if status.st_uid != os.geteuid():
        return f"{path} belongs to another user (number {status.st_uid}), so it is not used."
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"Other users may write to {path}, so it is not used; chmod go-w makes it yours alone, then empty it."
    return None


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """A new name survives a power cut only when its folder is flushed as well; not every system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a folder that may be written to but not listed
        return
    try:
        os.fsync(number)
    except OSError:  # a file system that cannot
        pass
    finally:
        os.close(number)
