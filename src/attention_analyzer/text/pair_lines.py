"""Relations of one's own as JSON lines: a text, two stretches of it, and what the one is to the other.

    {"text": "CCO binds the oxygen.", "from": [10, 13], "to": [14, 20], "relation": "determiner"}

Stretches are characters ``[start, end)``. Lines of the same text may follow each other or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.annotation import AnnotatedText, WordPair
from attention_analyzer.text.words import Span, word_spans


def read_pair_lines(lines: Iterable[str], source: str = "") -> Iterator[AnnotatedText]:
    """The texts of a file, each with all of its pairs, in the order in which texts first stand in it.

    Raises:
        FileFormatError: a line is no pair; the message has line and reason.
    """
    texts: dict[str, tuple[int, list[Span], list[WordPair]]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise FileFormatError(f"{source}, line {number}: no JSON ({error}); give one object a line.") from None
        problem = _problem(entry)
        if problem:
            raise FileFormatError(f"{source}, line {number}: {problem}")
        text = entry["text"]
        if text not in texts:
            texts[text] = (number, word_spans(text), [])
        spans, pairs = texts[text][1:]
        start, end = (_words(spans, entry[name]) for name in ("from", "to"))
        if not start or not end:
            name = "from" if not start else "to"
            raise FileFormatError(f'{source}, line {number}: "{name}" covers no word of the text; give its characters.')
        pairs.append(WordPair(entry["relation"], start, end))
    for text, (number, spans, pairs) in texts.items():
        yield AnnotatedText(text, tuple(spans), pairs=tuple(pairs), source=source, line=number)


def _problem(entry: Any) -> str:
    """What keeps an entry from being a pair; "" if it is one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str) or not entry["text"].strip():
        return 'no object with a "text"; give {"text": …, "from": [start, end], "to": [start, end], "relation": …}.'
    if not isinstance(entry.get("relation"), str) or not entry["relation"].strip():
        return 'the "relation" is empty; name what the one is to the other, such as "subject".'
    size = len(entry["text"])
    for name in ("from", "to"):
        span: Any = entry.get(name)
        numbers = isinstance(span, list) and len(span) == 2 and all(type(each) is int for each in span)
        if not numbers or not 0 <= span[0] < span[1] <= size:
            return (
                f'"{name}" is {json.dumps(span)[:40]}, but the text has {size} characters; give [start, end) inside it.'
            )
    return ""


def _words(spans: list[Span], part: list[int]) -> tuple[int, ...]:
    return tuple(number for number, (start, stop) in enumerate(spans) if start < part[1] and stop > part[0])
