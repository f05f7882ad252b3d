"""The store's tables of texts and tokens, and how a chunk's arrays become them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from attention_analyzer.text.annotation import AnnotatedText, words_of_tokens
from attention_analyzer.text.readers import Row
from attention_analyzer.text.tokens import Tokens

TEXTS = pa.schema(
    [("text", pa.int64()), ("content", pa.string()), ("place", pa.string()), ("tokens", pa.int32())],
    metadata={"about": "one row per text; a pair's texts are joined by a line end"},
)
#: Largest position that a token's strongest key can have in the store.
LONGEST = (1 << 16) - 1


def tokens_schema(heads: int) -> pa.Schema:
    """One row per token; ``strongest`` and ``weight`` have one entry per head, in the order of the table of heads.

    ``weight`` is rounded to float16; a query that looks at nothing has weight 0.
    """
    words = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("text", pa.int64()),
            ("position", pa.int32()),
            ("piece", words),
            ("special", pa.bool_()),
            ("word", words),
            ("word_index", pa.int32()),
            ("pos", words),
            ("relation", words),
            ("governor", pa.int32()),
            ("strongest", pa.list_(pa.uint16(), heads)),
            ("weight", pa.list_(pa.float16(), heads)),
        ]
    )


def texts_table(rows: Sequence[tuple[int, Row]], tokens: Sequence[Tokens]) -> pa.Table:
    """The texts of a chunk."""
    contents = [row.text if isinstance(row.text, str) else "\n".join(row.text) for _, row in rows]
    columns = [
        [number for number, _ in rows],
        contents,
        [row.place for _, row in rows],
        [len(each) for each in tokens],
    ]
    return pa.table(columns, schema=TEXTS)


def tokens_table(
    rows: Sequence[tuple[int, Row]],
    tokens: Sequence[Tokens],
    strongest: Sequence[NDArray[np.uint16]],
    weight: Sequence[NDArray[np.float16]],
) -> pa.Table:
    """The tokens of a chunk; ``strongest`` and ``weight`` are ``[token, head]`` per text."""
    heads = strongest[0].shape[1] if strongest else 0
    schema = tokens_schema(heads)
    lengths = [len(each) for each in tokens]
    described = [_described(of, row.annotation) for of, (_, row) in zip(tokens, rows, strict=True)]
    flat = {name: [value for text in described for value in text[name]] for name in ("word", "pos", "relation")}
    numbers = {
        name: np.concatenate([np.asarray(text[name], dtype=np.int32) for text in described] or [np.zeros(0, np.int32)])
        for name in ("word_index", "governor")
    }
    columns: list[pa.Array] = [
        pa.array(np.repeat([number for number, _ in rows], lengths).astype(np.int64)),
        pa.array(np.concatenate([np.arange(size, dtype=np.int32) for size in lengths] or [np.zeros(0, np.int32)])),
        pa.array([piece for each in tokens for piece in each.pieces], pa.string()).dictionary_encode(),
        pa.array([flag for each in tokens for flag in each.is_special], pa.bool_()),
        pa.array(flat["word"], pa.string()).dictionary_encode(),
        _or_null(numbers["word_index"]),
        pa.array(flat["pos"], pa.string()).dictionary_encode(),
        pa.array(flat["relation"], pa.string()).dictionary_encode(),
        _or_null(numbers["governor"]),
        _lists(strongest, heads, pa.uint16()),
        _lists(weight, heads, pa.float16()),
    ]
    return pa.Table.from_arrays(
        [column.cast(kind.type) for column, kind in zip(columns, schema, strict=True)], schema=schema
    )


def _or_null(values: NDArray[np.int32]) -> pa.Array:
    return pa.array(values, mask=values < 0)


def _lists(parts: Sequence[NDArray[np.generic]], heads: int, kind: pa.DataType) -> pa.Array:
    flat = np.concatenate(parts).reshape(-1) if parts else np.zeros(0)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind), heads)


def _described(tokens: Tokens, annotation: AnnotatedText | None) -> dict[str, list[object]]:
    """Per token its word, the word's number, part of speech, relation and governor's number; -1 or None for none."""
    if annotation is None:
        owner, words = tokens.words, tokens.word_texts
        nothing: list[object] = [None] * len(tokens)
        return {
            "word": [None if word is None else words[word] for word in owner],
            "word_index": [-1 if word is None else word for word in owner],
            "pos": nothing,
            "relation": nothing,
            "governor": [-1] * len(tokens),
        }
    owner, words = words_of_tokens(tokens, annotation.spans), annotation.words
    governors = [-1 if each is None else each for each in annotation.governors]
    return {
        "word": [None if word is None else words[word] for word in owner],
        "word_index": [-1 if word is None else word for word in owner],
        "pos": [_at(annotation.parts_of_speech, word) for word in owner],
        "relation": [_at(annotation.relations, word) for word in owner],
        "governor": [-1 if word is None or not governors else governors[word] for word in owner],
    }


def _at(values: Sequence[str], word: int | None) -> str | None:
    """What is said of a word; None where nothing is."""
    return None if word is None or not values or values[word] in ("", "_") else values[word]
