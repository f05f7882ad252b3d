from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from attention_analyzer.errors import InputError
from attention_analyzer.text.readers.opened import lines_of
from attention_analyzer.text.readers.row import MOST_COLUMNS, SHOWN, USUAL_COLUMNS, BadRow, Reader, ReadOptions, Row

#: Lines that are looked at for their keys.
_LOOKED_AT = 100
#: Keys that a message names.
_NAMED = 10


class JsonLines(Reader):
    """One JSON value a line: a string, or an object with the text under a key."""

    name = "JSON lines"
    suffixes = (".jsonl", ".ndjson")

    def columns(self, path: Path, options: ReadOptions) -> list[str]:
        """The keys of the first line that can be read, of the first few."""
        with lines_of(path, options.encoding) as lines:
            for line in islice((line for line in lines if line is not None and line.strip()), _LOOKED_AT):
                with suppress(InputError):
                    value = _parse_json(line)
                    return list(islice(value, MOST_COLUMNS)) if isinstance(value, dict) else []
        return []

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        with lines_of(path, options.encoding) as lines:
            for line in lines:
                place = f"{path}, line {lines.number}"
                if line is None:
                    yield BadRow(place, lines.problem, lines.share)
                elif line.strip():
                    text, reason = _text(line, options.column)
                    if reason:
                        yield BadRow(place, reason, lines.share, line[:SHOWN])
                    else:
                        yield Row(text, place, share=lines.share)


def _parse_json(line: str) -> Any:
    """The value of a line.

    Raises:
        InputError: it is no JSON, or nested too deeply or with numbers too long to be built.
    """
    try:
        return json.loads(line)
    except RecursionError:
        raise InputError("its brackets are nested too deeply") from None
    except ValueError as error:  # of the JSON, or a number of more digits than Python converts
        raise InputError(str(error)) from None


def _text(line: str, key: str | None) -> tuple[str, str]:
    """The text of a line, or why there is none."""
    try:
        value = _parse_json(line)
    except InputError as error:
        return "", f"the line is no JSON ({error})"
    if isinstance(value, dict):
        name = next((name for name in ((key,) if key else USUAL_COLUMNS) if name in value), None)
        if name is None:
            known = ", ".join(repr(each[:40]) for each in islice(value, _NAMED)) or "none"
            more = ", …" if len(value) > _NAMED else ""
            return "", f"there is no key {key or 'text'!r}; the keys are {known}{more}"
        value = value[name]
    return (value, "") if isinstance(value, str) else ("", f"the text is a {type(value).__name__}, not a string")
