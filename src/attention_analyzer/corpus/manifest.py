"""What a store says of itself, as JSON that carries a checksum and is checked before anything is built from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

import xxhash

from attention_analyzer.errors import FileFormatError

VERSION = 2
FORMAT = "attention-analyzer corpus"
#: Examples of each head and measure at most.
MOST_EXAMPLES = 10_000
#: Bytes of a manifest at most: of some millions of files.
LARGEST = 1 << 29
_MOST_SITES = 100_000
_MOST_HEADS = 1 << 17
_MOST = 1 << 53
_STATE_FILE = re.compile(r"(?:heads|examples|kept|problems)-(\d{6,12})\.parquet")
_PART_FILE = re.compile(r"(?:texts|tokens)/(\d{6,12})\.parquet")
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class FileEntry:
    """A file of the store: its size in bytes, and the xxh3_128 of its content."""

    size: int
    digest: str

    @classmethod
    def of(cls, content: Any) -> FileEntry:
        return cls(len(memoryview(content)), xxhash.xxh3_128_hexdigest(content))


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself.

    Attributes:
        model, fingerprint: the model's name, and the hash of its weights and configuration.
        settings: everything that decides the results.
        sites: stack, kind, layer, heads and module of every site; ``linked``: those of them, by their place, whose
            links are kept.
        chunks, rows, digest: how far the scan has come in its input.
        texts, tokens, batches, proved, deviation: what was analyzed and how it was proved.
        problems: rows that were left out; the table holds the first of them.
        finished: whether the input had ended.
        files: every file that counts, with its size and hash; None in a store of an earlier version.
    """

    model: str
    fingerprint: str
    settings: dict[str, Any]
    sites: list[dict[str, Any]] = field(default_factory=list)
    linked: list[int] = field(default_factory=list)
    chunks: int = 0
    rows: int = 0
    digest: str = ""
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    proved: int = 0
    deviation: float = 0.0
    problems: int = 0
    finished: bool = False
    files: Mapping[str, FileEntry] | None = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The file's content."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content["files"] = {name: [entry.size, entry.digest] for name, entry in sorted((self.files or {}).items())}
        content = {"format": FORMAT, "version": VERSION, **content}
        return sealed(content)

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Manifest:
        """The inverse of :meth:`to_json`.

        Raises:
            FileFormatError: it is damaged, not of a scan, or written by a newer version; nothing in it is built before
                its size is known to be sensible.
        """
        try:
            found = json.loads(content.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{source} is damaged ({str(error) or type(error).__name__}).") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise FileFormatError(f"{source} is not of a scan.")
        version = found.get("version")
        if not _is_count(version):
            raise FileFormatError(f"{source} is damaged (its version is {version!r}).")
        if version > VERSION:
            raise FileFormatError(f"{source} has the version {version}; this program reads up to {VERSION}.")
        if version == VERSION or "checksum" in found:
            given = found.pop("checksum", None)
            if given != _checksum(found):
                raise FileFormatError(f"{source} is damaged (its checksum does not match its content).")
        else:
            found["files"] = None
        del found["format"], found["version"]
        return _checked(found, source)


def sealed(content: dict[str, Any]) -> bytes:
    """A manifest's file, with the checksum of what is in it."""
    content = {**content, "checksum": _checksum({name: content[name] for name in content if name != "checksum"})}
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _checksum(content: dict[str, Any]) -> str:
    """Of everything else in the manifest, however it is laid out."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return str(xxhash.xxh3_128_hexdigest(plain.encode()))


def _checked(content: dict[str, Any], source: str) -> Manifest:
    known = {each.name for each in fields(Manifest)}
    if content.keys() != known:
        odd = ", ".join(sorted(map(repr, content.keys() ^ known))[:5])
        raise FileFormatError(f"{source} is damaged (missing or unknown: {odd}).")
    for name, (meant, is_right) in _FIELDS.items():
        if not is_right(content[name]):
            raise FileFormatError(f"{source} is damaged ({name} must be {meant}, not {repr(content[name])[:60]}).")
    if sum(site["heads"] for site in content["sites"]) > _MOST_HEADS:
        raise FileFormatError(f"{source} is damaged (it names more than {_MOST_HEADS:,} heads).")
    linked = content["linked"]
    if len(set(linked)) < len(linked) or any(place >= len(content["sites"]) for place in linked):
        raise FileFormatError(f"{source} is damaged (linked names sites that are not there).")
    if content["files"] is not None:
        content["files"] = {name: FileEntry(*entry) for name, entry in content["files"].items()}
        for name in content["files"]:
            if not _belongs(name, content["chunks"]):
                raise FileFormatError(f"{source} is damaged (it lists {name[:80]!r}, which is no file of this scan).")
    return Manifest(**content)


def _belongs(name: str, chunks: int) -> bool:
    state, part = _STATE_FILE.fullmatch(name), _PART_FILE.fullmatch(name)
    if state is not None:
        return int(state[1]) == chunks
    return part is not None and int(part[1]) < chunks


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_site(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"stack", "kind", "layer", "heads", "module"}
        and isinstance(value["stack"], str)
        and value["kind"] in ("self", "cross")
        and _is_count(value["layer"])
        and _is_count(value["heads"])
        and isinstance(value["module"], str)
    )


def _is_settings(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    examples = value.get("examples")
    return _is_count(examples) and examples <= MOST_EXAMPLES


def _is_files(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_entry, value.values())))


def _is_entry(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and _is_count(value[0])
        and isinstance(value[1], str)
        and _DIGEST.fullmatch(value[1]) is not None
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


#: What each entry must be, in words and as a check.
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a name", _is_text),
    "fingerprint": ("a hash", _is_text),
    "settings": (f"settings with 0 to {MOST_EXAMPLES:,} examples", _is_settings),
    "sites": (
        "a list of sites",
        lambda value: isinstance(value, list) and len(value) <= _MOST_SITES and all(map(_is_site, value)),
    ),
    "linked": ("a list of places", lambda value: isinstance(value, list) and all(map(_is_count, value))),
    **dict.fromkeys(("chunks", "rows", "texts", "tokens", "batches", "proved", "problems"), ("a count", _is_count)),
    "digest": ("a hash", _is_text),
    "deviation": ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "finished": ("true or false", lambda value: isinstance(value, bool)),
    "files": ("a list of files with size and hash", _is_files),
}
