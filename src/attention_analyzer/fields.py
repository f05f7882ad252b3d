"""A JSON object of a file, each entry checked for its type and range as it is taken, before anything is built of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from attention_analyzer.errors import FileFormatError

#: Positions, sizes and identifiers: what 64 bits hold.
LARGEST = (1 << 63) - 1
_LONGEST_NAME = 10_000


@dataclass(frozen=True)
class Fields:
    """Entries by name.

    Every method raises a :class:`FileFormatError` that names the entry if it is missing or not what is asked for.

    Attributes:
        entries: the object, as JSON gave it.
        name: what the object describes, for the messages: "a.attn, site encoder.self.0".
    """

    entries: dict[str, Any]
    name: str

    @classmethod
    def of(cls, value: object, name: str) -> Fields:
        """Any JSON value, which must be an object."""
        if not isinstance(value, dict):
            raise FileFormatError(f"{name} must be a JSON object, but is {shown(value)}.")
        return cls(value, name)

    @classmethod
    def parse(cls, text: str, name: str) -> Fields:
        """JSON text; NaN and infinity, which JSON does not have, are refused."""
        try:
            return cls.of(json.loads(text, parse_constant=_refused_constant), name)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{name} is no JSON: {error}.") from None

    def any(self, entry: str) -> Any:
        if entry not in self.entries:
            raise FileFormatError(f"{self.name} lacks the entry {entry!r}, which every file has.")
        return self.entries[entry]

    def has(self, entry: str) -> bool:
        """Whether an entry is there and not null."""
        return self.entries.get(entry) is not None

    def text(self, entry: str, *, longest: int = _LONGEST_NAME) -> str:
        value = self.any(entry)
        if not isinstance(value, str) or len(value) > longest:
            self._refuse(entry, value, f"a text of at most {longest:,} characters")
        return value

    def flag(self, entry: str) -> bool:
        value = self.any(entry)
        if not isinstance(value, bool):
            self._refuse(entry, value, "true or false")
        return value

    def whole(self, entry: str, least: int = 0, most: int = LARGEST) -> int:
        value = self.any(entry)
        if not is_whole(value) or not least <= value <= most:
            self._refuse(entry, value, f"a whole number from {least:,} to {most:,}")
        return int(value)

    def number(self, entry: str) -> float:
        value = self.any(entry)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(entry, value, "a number")
        if not -1e300 < value < 1e300 or not math.isfinite(value):
            self._refuse(entry, value, "a finite number")
        return float(value)

    def items(self, entry: str, *, least: int = 0) -> list[Any]:
        value = self.any(entry)
        if not isinstance(value, list) or len(value) < least:
            self._refuse(entry, value, f"a list of at least {least} items" if least else "a list")
        return list(value)

    def nested(self, entry: str) -> Fields:
        return Fields.of(self.any(entry), f"{self.name}, {entry}")

    def _refuse(self, entry: str, value: object, expected: str) -> NoReturn:
        raise FileFormatError(f"{self.name}: {entry!r} must be {expected}, but is {shown(value)}.")


def is_whole(value: object) -> bool:
    """Whether a JSON value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def depth_of(value: object, most: int) -> int:
    """How deeply lists and objects are nested, counted up to ``most`` + 1; without recursion."""
    level, depth = [value], 0
    while level and depth <= most:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        depth += 1
    return depth


def shown(value: object) -> str:
    """A JSON value for a message, short."""
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}…"


def _refused_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number in JSON")
