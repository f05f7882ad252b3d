from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attention_analyzer.text.readers.opened import lines_of
from attention_analyzer.text.readers.row import USUAL_COLUMNS, BadRow, Reader, ReadOptions, Row


class JsonLines(Reader):
    """One JSON value a line: a string, or an object with the text under a key."""

    name = "JSON lines"
    suffixes = (".jsonl", ".ndjson")

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        with lines_of(path) as lines:
            for line in lines:
                place = f"{path}, line {lines.number}"
                if line is None:
                    yield BadRow(place, lines.not_utf8, lines.share)
                elif line.strip():
                    text, reason = _text(line, options.column)
                    yield BadRow(place, reason, lines.share) if reason else Row(text, place, share=lines.share)


def _text(line: str, key: str | None) -> tuple[str, str]:
    """The text of a line, or why there is none."""
    try:
        value: Any = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return "", f"the line is no JSON ({error})"
    if isinstance(value, dict):
        name = next((name for name in ((key,) if key else USUAL_COLUMNS) if name in value), None)
        if name is None:
            known = ", ".join(map(repr, value)) or "none"
            return "", f"there is no key {key or 'text'!r}; the keys are {known}"
        value = value[name]
    return (value, "") if isinstance(value, str) else ("", f"the text is a {type(value).__name__}, not a string")
