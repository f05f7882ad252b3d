"""What a tool answers: JSON with the name and version of its schema, bounded in size.

A number is rounded to six digits; one that is not defined is null. A table that is cut says how many rows it has.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from attention_analyzer.errors import InputError

#: Characters of an answer; more would crowd out the conversation that it is part of.
LONGEST = 40_000
#: The most rows that may be asked for.
MOST_ROWS = 500


def answer(kind: str, **content: Any) -> str:
    """JSON ``{"schema": "attention-analyzer/KIND/1", …}``.

    Raises:
        InputError: it would be longer than :data:`LONGEST`.
    """
    text = json.dumps({"schema": f"attention-analyzer/{kind}/1", **content}, ensure_ascii=False, allow_nan=False)
    if len(text) > LONGEST:
        raise InputError(
            f"The answer has {len(text):,} characters, more than {LONGEST:,}; ask for fewer rows (limit), one layer, "
            "or a shorter text."
        )
    return text


def rows(table: pd.DataFrame, limit: int) -> dict[str, Any]:
    """The first rows of a table, one object each, and how many there are.

    Raises:
        InputError: the limit is not between 1 and :data:`MOST_ROWS`.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise InputError(f"limit is {limit}, but between 1 and {MOST_ROWS} rows can be given.")
    first = table.head(limit)
    return {
        "rows": [{name: plain(value) for name, value in row.items()} for row in first.to_dict("records")],
        "shown": len(first),
        "total": len(table),
    }


def plain(value: Any) -> Any:
    """A value of a table as JSON has it."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return str(value)
