"""Where does a head look from X to Y, over every token that a scan has kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from attention_analyzer.corpus.tables import TEXTS, tokens_schema
from attention_analyzer.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import pandas as pd

Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
#: What a term may name, and the column that holds it.
_COLUMNS = {"word": "word", "piece": "piece", "pos": "pos", "relation": "relation"}
#: What may be looked at by its place in the sentence's structure.
_RELATED = ("governor", "dependent")
#: Queries whose keys are looked up at once.
_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Term:
    """Which tokens are meant: "she", "pos:VERB", "special", ….

    Raises:
        InputError: the term is not understood.
    """

    text: str
    kind: str = field(init=False)
    value: str = field(init=False)

    def __post_init__(self) -> None:
        kind, colon, value = self.text.partition(":")
        if colon and kind in _COLUMNS and value:
            found = kind, value
        elif self.text in ("any", "special", *_RELATED):
            found = self.text, ""
        elif not colon and self.text.strip():
            found = "word", self.text
        else:
            raise InputError(
                f"{self.text!r} names no tokens; write a word, or piece:…, word:…, pos:…, relation:…, special or any; "
                "what is looked at may also be governor or dependent."
            )
        object.__setattr__(self, "kind", found[0])
        object.__setattr__(self, "value", found[1])

    def matches(self, part: _Part) -> Bools:
        """bool ``[token]``."""
        if self.kind == "any":
            return np.ones(len(part), dtype=bool)
        if self.kind == "special":
            return part.special
        names, codes = part.named(_COLUMNS[self.kind])
        chosen = np.array([name is not None and self._means(name) for name in names], dtype=bool)
        return np.append(chosen, False)[codes]

    def _means(self, name: str) -> bool:
        if self.kind == "word":
            return name.casefold() == self.value.casefold()
        if self.kind == "relation":
            return name == self.value or name.startswith(f"{self.value}:")
        return name == self.value


@dataclass(frozen=True)
class _Part:
    """One chunk's tokens as arrays."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def numbers(self, column: str) -> Indices:
        return self.table[column].to_numpy()

    @property
    def special(self) -> Bools:
        return self.table["special"].to_numpy()

    def filled(self, column: str) -> Indices:
        """With -1 for nothing."""
        return self.table[column].combine_chunks().fill_null(-1).to_numpy().astype(np.int64)

    def named(self, column: str) -> tuple[list[str | None], Indices]:
        """The column's different strings, and each token's place among them; -1 for nothing."""
        values = self.table[column].combine_chunks()
        values = values if isinstance(values, pa.DictionaryArray) else values.dictionary_encode()
        return values.dictionary.to_pylist(), values.indices.fill_null(-1).to_numpy().astype(np.int64)

    def lists(self, column: str, rows: Indices) -> NDArray[Any]:
        """``[row, head]``."""
        array = self.table[column].combine_chunks()
        flat = array.flatten().to_numpy().reshape(len(self), -1)
        return flat[rows]


@dataclass(frozen=True)
class Search:
    """One question to all chunks.

    Attributes:
        tokens, texts: the chunks' files.
        names: stack, kind, layer and head of the columns; ``columns``: the column of each head that has one.
    """

    tokens: Sequence[Path]
    texts: Sequence[Path]
    names: Mapping[str, list[Any]]
    columns: Mapping[int, int]
    from_: str
    to: str

    def table(self) -> pd.DataFrame:
        """See :meth:`.Corpus.search`."""
        import pandas as pd

        heads = len(self.columns)
        asked, found = 0, np.zeros(heads, dtype=np.int64)
        chance, weight = 0.0, np.zeros(heads)
        for _, part, rows, keys, hits, share in self._found():
            asked += len(rows)
            found += hits.sum(0)
            chance += float(share.sum())
            weight += np.where(hits, part.lists("weight", rows).astype(np.float64), 0).sum(0)
            del keys
        table = pd.DataFrame(self.names)
        table["asked"], table["found"] = asked, found
        table["share"] = found / asked if asked else np.nan
        table["chance"] = chance / asked if asked else np.nan
        table["weight"] = np.divide(weight, found, out=np.full(heads, np.nan), where=found > 0)
        return table.sort_values(["share", "layer", "head"], ascending=[False, True, True], ignore_index=True)

    def matches(self, column: int, limit: int) -> pd.DataFrame:
        """See :meth:`.Corpus.matches`."""
        import pandas as pd

        rows_found: list[dict[str, Any]] = []
        for number, part, rows, keys, hits, _ in self._found():
            chosen = np.flatnonzero(hits[:, column])[: limit - len(rows_found)]
            if len(chosen):
                weights = part.lists("weight", rows[chosen])[:, column].astype(np.float64)
                rows_found += self._shown(number, part, rows[chosen], keys[chosen, column], weights)
            if len(rows_found) >= limit:
                break
        columns = ["text", "place", "content", "query", "query_piece", "key", "key_piece", "weight"]
        return pd.DataFrame(rows_found, columns=columns)

    def _shown(
        self, number: int, part: _Part, rows: Indices, keys: Indices, weights: NDArray[np.float64]
    ) -> Iterator[dict[str, Any]]:
        pieces, codes = part.named("piece")
        texts = {row["text"]: row for row in _read(self.texts[number], TEXTS).to_pylist()}
        at, text = part.numbers("position"), part.numbers("text")
        for row, key, weight in zip(rows, keys, weights, strict=True):
            of = texts.get(int(text[row]))
            if of is None:
                raise FileFormatError(f"{self.texts[number]} lacks the text {text[row]}; the store is damaged.")
            yield {
                "text": int(text[row]),
                "place": of["place"],
                "content": of["content"],
                "query": int(at[row]),
                "query_piece": pieces[codes[row]],
                "key": int(at[key]),
                "key_piece": pieces[codes[key]],
                "weight": float(weight),
            }

    def _found(self) -> Iterator[tuple[int, _Part, Indices, Indices, Bools, NDArray[np.float64]]]:
        """Chunk by chunk: the tokens that ask, ``[query]``; the rows of their strongest keys and whether these are
        meant, ``[query, head]``; and the share of tokens in their text that are.
        """
        asking, meant = Term(self.from_), Term(self.to)
        if asking.kind in _RELATED:
            raise InputError(f"{self.from_!r} says whom a token looks at; it cannot say which tokens look.")
        self._check_annotated(asking, meant)
        for number, path in enumerate(self.tokens):
            part = _Part(_tokens(path, len(self.columns)))
            answer = _Answer.of(meant, part)
            rows = np.flatnonzero(asking.matches(part) & (answer.possible > 0))
            for start in range(0, len(rows), _AT_ONCE):
                few = rows[start : start + _AT_ONCE]
                strongest = part.lists("strongest", few)
                if (strongest >= answer.size[few][:, None]).any():
                    raise FileFormatError(f"{path} names tokens that are not there; the store is damaged.")
                keys = answer.first[few][:, None] + strongest
                share = answer.possible[few] / answer.size[few]
                hits = answer.hits(few, keys) & (part.lists("weight", few) > 0)
                yield number, part, few, keys, hits, share

    def _check_annotated(self, *terms: Term) -> None:
        heads = len(self.columns)
        for term in terms:
            column = "governor" if term.kind in _RELATED else term.kind if term.kind in ("pos", "relation") else ""
            if column and not any(
                (found := _tokens(path, heads, [column])[column]).null_count < len(found) for path in self.tokens
            ):
                raise InputError(
                    f"{term.text!r} asks for annotation, but the scanned texts have none; scan .conllu files."
                )


@dataclass(frozen=True)
class _Answer:
    """Which keys are meant, in one chunk.

    Attributes:
        first, size: ``[token]``, the first row and the number of tokens of its text.
        possible: ``[token]``, how many keys of its text are meant for it.
    """

    first: Indices
    size: Indices
    possible: Indices
    kind: str
    meant: Bools
    word: Indices
    governor: Indices

    @classmethod
    def of(cls, term: Term, part: _Part) -> _Answer:
        starts = np.flatnonzero(part.numbers("position") == 0)
        sizes = np.diff(np.append(starts, len(part)))
        first, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
        word, governor = part.filled("word_index"), part.filled("governor")
        if term.kind in _RELATED:
            meant = np.zeros(len(part), dtype=bool)
            # A word's name over all texts: the row its text starts at, and its number there.
            span = int(max(word.max(initial=0), governor.max(initial=0))) + 1
            names, wanted = first * span + word, first * span + governor
            if term.kind == "governor":
                possible = _count(names[word >= 0], wanted)
                possible[governor < 0] = 0
            else:
                possible = _count(wanted[governor >= 0], names)
                possible[word < 0] = 0
        else:
            meant = term.matches(part)
            possible = np.repeat(np.add.reduceat(meant.astype(np.int64), starts), sizes) if len(starts) else word[:0]
        return cls(first, size, possible, term.kind, meant, word, governor)

    def hits(self, rows: Indices, keys: Indices) -> Bools:
        """bool ``[query, head]``."""
        if self.kind == "governor":
            return (self.word[keys] == self.governor[rows][:, None]) & (self.word[keys] >= 0)
        if self.kind == "dependent":
            return (self.governor[keys] == self.word[rows][:, None]) & (self.governor[keys] >= 0)
        return self.meant[keys]


def _count(among: Indices, wanted: Indices) -> Indices:
    """How often each of ``wanted`` is among."""
    order = np.sort(among)
    return np.searchsorted(order, wanted, "right") - np.searchsorted(order, wanted, "left")


def _tokens(path: Path, heads: int, columns: list[str] | None = None) -> pa.Table:
    """A chunk's tokens.

    Raises:
        FileFormatError: the file is damaged, or not such a table.
    """
    table = _read(path, tokens_schema(heads), columns)
    if columns is not None:
        return table
    for name in ("text", "position", "special", "strongest", "weight"):
        values = table[name]
        nested = pc.list_flatten(values) if pa.types.is_fixed_size_list(values.type) else values
        if values.null_count or nested.null_count:
            raise FileFormatError(f"{path} has tokens without {name}; the store is damaged.")
    position, text = table["position"].to_numpy(), table["text"].to_numpy()
    begins = np.append(True, text[1:] != text[:-1])[: len(text)]
    if (position[begins] != 0).any() or (np.diff(position)[~begins[1:]] != 1).any():
        raise FileFormatError(f"{path} has tokens that are not in order; the store is damaged.")
    return table


def _read(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema):
                raise FileFormatError(f"{path} has other columns than the scan writes; the store is damaged.")
            table = file.read(columns)
        table.validate(full=True)
    except (OSError, MemoryError, UnicodeDecodeError, pa.ArrowException) as error:
        raise FileFormatError(f"{path} cannot be read ({error}); the store is damaged.") from None
    return table
