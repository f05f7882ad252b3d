"""Sources of every answer of a log: one chat per line, resumed where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import xxhash

from attention_analyzer.errors import AttentionAnalyzerError, FileFormatError, InputError
from attention_analyzer.files import read_json, write_json
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.sources.find import sources
from attention_analyzer.text.chat import is_messages
from attention_analyzer.text.decoding import decode
from attention_analyzer.text.readers.opened import bytes_of

#: Entries of a line besides the messages.
_ENTRIES = ("messages", "prompt", "documents", "answer")


def read_chat(value: Any, place: str) -> dict[str, Any]:
    """Arguments of :func:`.find.sources` from a JSON value: messages, or an object with ``messages`` and ``documents``.

    Raises:
        InputError: it is neither; the message names the place.
    """
    if is_messages(value):
        return {"messages": value}
    if isinstance(value, dict) and (is_messages(value.get("messages")) or isinstance(value.get("prompt"), str)):
        return {name: value[name] for name in _ENTRIES if value.get(name) is not None}
    raise InputError(
        f"{place} holds no chat; write a list of messages, or an object with 'messages' (or 'prompt') and, where there "
        "are any, 'documents' and 'answer'."
    )


def sources_of_log(
    loaded: LoadedModel,
    path: Path,
    store: Path,
    *,
    removals: int = 64,
    max_new_tokens: int = 64,
    seed: int = 0,
    cache: Path | None = None,
    progress: OnProgress | None = None,
) -> pd.DataFrame:
    """One row per candidate of every line: ``line, answer, log_probability, none, recommended, part, role, score``, ….

    A line that cannot be used has one row with its ``problem``. Each line's rows are a file in ``store`` that is named
    by the line, the model and the settings; a second run reads what is there.

    Raises:
        InputError: the file cannot be read.
    """
    store.mkdir(parents=True, exist_ok=True)
    lines = list(_lines(path))
    counter = ProgressCounter(len(lines), progress)
    settings = {"removals": removals, "max_new_tokens": max_new_tokens, "seed": seed}
    rows: list[dict[str, Any]] = []
    for number, line in lines:
        key = xxhash.xxh3_128_hexdigest(json.dumps([loaded.fingerprint, settings, number, line]).encode())
        made = _stored(store / f"{key}.json")
        if made is None:
            made = _rows(loaded, f"{path}, line {number}", number, line, settings, cache)
            write_json(store / f"{key}.json", {"rows": made})
        rows += made
        counter.advance()
    frame = pd.DataFrame(rows)
    if "problem" not in frame:
        frame["problem"] = ""
    return frame.fillna({"problem": ""})


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        content = decode(bytes_of(path), str(path), None)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield number, line


def _stored(path: Path) -> list[dict[str, Any]] | None:
    """Rows of a line that was finished before; None if it was not, or its file was cut."""
    if not path.is_file():
        return None
    try:
        content, is_sealed = read_json(path)
    except FileFormatError:
        return None
    rows = content.get("rows")
    return rows if is_sealed and isinstance(rows, list) else None


def _rows(
    loaded: LoadedModel, place: str, number: int, line: str, settings: dict[str, Any], cache: Path | None
) -> list[dict[str, Any]]:
    try:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place} is no JSON: {error}.") from None
        found = sources(loaded, **read_chat(value, place), **settings, cache=cache)
    except AttentionAnalyzerError as error:
        return [{"line": number, "problem": str(error)}]
    whole = {
        "line": number,
        "answer": found.answer,
        "log_probability": found.log_probability,
        "without_any": found.without_any,
        "none": found.none,
        "recommended": found.recommended,
        "contradictions": " ".join(found.contradictions),
    }
    table = found.table.astype(object).where(found.table.notna(), None)
    return [{**whole, **row} for row in table.to_dict("records")]
