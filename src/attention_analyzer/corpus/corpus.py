"""A finished or growing scan, to be asked: tables of heads, examples, SQL, and where heads look from and to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.search import Search
from attention_analyzer.corpus.state_tables import PAIRS, head_names, summary_of
from attention_analyzer.corpus.store import STATE, Manifest, Store
from attention_analyzer.corpus.summary import Summary
from attention_analyzer.errors import InputError, MissingDependencyError, SelectionError
from attention_analyzer.site import Site

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Corpus:
    """What a scan has found; of a scan that still runs, what it had at its last commit.

    Attributes:
        folder: the store.
        manifest: model, settings, how many texts and tokens, how it was proved.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Corpus:
        """The scan in a folder.

        Raises:
            InputError: there is none.
            FileFormatError: it is damaged, or written by a newer version.
        """
        return cls(Path(folder), Store(Path(folder)).manifest())

    def __repr__(self) -> str:
        done = self.manifest
        state = "" if done.finished else ", not finished"
        return f"<Corpus of {done.texts:,} texts, {done.tokens:,} tokens, by {done.model}{state}: {self.folder}>"

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(**site) for site in self.manifest.sites)

    @cached_property
    def summary(self) -> Summary:
        """Sums and examples as they were gathered."""
        most = self.manifest.settings["examples"]
        return summary_of(self.manifest.sites, self._state, most) if self.manifest.sites else Summary.empty((), most)

    def heads(self, measure: str | None = None) -> pd.DataFrame:
        """One row per head and measure (all, or the one that is named).

        Columns: ``stack, kind, layer, head, measure``; ``texts``, how many texts it has a meaning in; ``mean`` over
        texts and its 95 % interval ``low, high`` (Student's t, texts as the unit); ``spread``, the standard deviation
        between texts; ``smallest`` and ``largest``. NaN where nothing or too little is known.

        Raises:
            SelectionError: there is no such measure.
        """
        import numpy as np
        import pandas as pd

        moments = self.summary.moments
        names = {name: np.repeat(values, len(MEASURES)) for name, values in head_names(self.sites).items()}
        low, high = moments.interval
        blank = moments.count == 0
        table = pd.DataFrame(
            {
                **names,
                "measure": np.tile(np.array(MEASURES), self.summary.heads),
                "texts": moments.count.ravel(),
                "mean": moments.mean.ravel(),
                "spread": moments.spread.ravel(),
                "low": low.ravel(),
                "high": high.ravel(),
                "smallest": np.where(blank, np.nan, moments.smallest).ravel(),
                "largest": np.where(blank, np.nan, moments.largest).ravel(),
            }
        )
        if measure is None:
            return table
        _check_measure(measure)
        return table[table["measure"] == measure].reset_index(drop=True)

    def examples(
        self, layer: int, head: int, by: str = PAIRS, *, stack: str | None = None, kind: str | None = None
    ) -> pd.DataFrame:
        """Where a head is strongest, the strongest first; exact over the whole corpus.

        Args:
            by: "pairs" for token pairs: a query and the key it looks at most, neither of them special, at most one
                pair a text; or a measure, for the texts where it is largest.
            stack, kind: which attention is meant, for a model that has several.

        Returns:
            ``rank, value, text`` (its number), ``place, content``; for pairs also ``query, key`` (positions) and
            ``query_piece, key_piece``.

        Raises:
            SelectionError: there is no such head or measure, or several.
        """
        if by != PAIRS:
            _check_measure(by)
        number = self._number(layer, head, stack, kind)
        table = self.examples_table
        found = table[(table["number"] == number) & (table["measure"] == by)].reset_index(drop=True)
        columns = ["rank", "value", "text", "place", "content"]
        columns += ["query", "key", "query_piece", "key_piece"] if by == PAIRS else []
        return found[columns]

    @cached_property
    def examples_table(self) -> pd.DataFrame:
        """All examples of all heads."""
        table = self._state["examples"].to_pandas()
        kept = self.summary.kept
        table["place"] = [kept[number].place for number in table["text"]]
        table["content"] = [kept[number].content for number in table["text"]]
        site_of = [site for site in self.sites for _ in range(site.heads)]
        pieces: dict[str, list[str | None]] = {"query": [], "key": []}
        for row in table.itertuples(index=False):
            text, site = kept[row.text], site_of[row.number]
            crosses = site.kind == "cross" and bool(text.others)
            of_target = text.others if text.others and site.tower == "decoder" else text.pieces
            for side, shown in (("query", of_target), ("key", text.pieces if crosses else of_target)):
                at = getattr(row, side)
                pieces[side].append(None if at != at else shown[int(at)])  # noqa: PLR0124 (NaN is not itself)
        for side, column in pieces.items():
            table[side] = table[side].astype("Int64")
            table[f"{side}_piece"] = column
        return table

    def problems(self) -> pd.DataFrame:
        """Rows that were left out: ``row, place, reason``; the first ten thousand of ``manifest.problems``."""
        return self._state["problems"].to_pandas()

    def sql(self, query: str) -> pd.DataFrame:
        """The answer to any SQL query (DuckDB's).

        Tables: ``heads`` (as :meth:`heads`), ``examples``, ``problems`` and ``texts`` (text, content, place, tokens).
        Where links are kept also ``tokens`` (text, position, piece, special, word, pos, relation, governor …) and
        ``links``: for every token and head (text, query, query_piece, stack, kind, layer, head) the key it looks at
        most, and the weight on it (float16).

        Raises:
            InputError: the query is wrong.
            MissingDependencyError: DuckDB is not installed.
        """
        try:
            import duckdb
        except ImportError:
            raise MissingDependencyError("duckdb", "corpus", "Asking a corpus in SQL") from None

        with duckdb.connect() as connection:
            connection.register("heads", self.heads())
            connection.register("examples", self.examples_table)
            connection.register("problems", self._state["problems"])
            self._register_parts(connection)
            try:
                return connection.execute(query).df()
            except duckdb.Error as error:
                raise InputError(f"The query cannot be answered: {error}") from None

    def search(self, from_: str, to: str) -> pd.DataFrame:
        """Where do heads look from X to Y? One row per head, the one that does it most first.

        Args:
            from_: which tokens look: a word ("she"), ``piece:ing``, ``pos:VERB``, ``relation:nsubj`` (subtypes
                included), ``special`` or ``any``.
            to: which tokens they look at: the same, or ``governor`` or ``dependent`` of the looking word.

        Returns:
            ``asked``: tokens X whose text has a Y; ``found``: those of them whose strongest key is a Y; ``share``, the
            one of the other; ``chance``: the mean share of Y among the text's tokens; ``weight``: the mean weight on
            that key where it was found.

        Raises:
            InputError: a term is not understood, nothing was annotated, or the scan kept no links.
        """
        return self._search(from_, to).table()

    def matches(
        self, from_: str, to: str, layer: int, head: int, *, stack: str | None = None, limit: int = 20
    ) -> pd.DataFrame:
        """The places behind a row of :meth:`search`: where this head looks from X to Y, in the order of the corpus.

        Raises:
            SelectionError: there is no such head, or its links are not kept.
        """
        search = self._search(from_, to)
        number = self._number(layer, head, stack, "self")
        if number not in search.columns:
            raise SelectionError(f"L{layer}H{head} does not look at the main text; its links are not kept.")
        return search.matches(search.columns[number], limit)

    def _search(self, from_: str, to: str) -> Search:
        if not self.manifest.linked:
            raise InputError(f"The scan in {self.folder} kept no links (links=False), so it cannot be searched.")
        store, chunks = Store(self.folder), self.manifest.chunks
        sites, number = self.sites, 0
        columns: dict[int, int] = {}
        for index, site in enumerate(sites):
            for head in range(site.heads):
                if index in self.manifest.linked:
                    columns[number + head] = len(columns)
            number += site.heads
        names = head_names([sites[index] for index in self.manifest.linked])
        return Search(store.parts("tokens", chunks), store.parts("texts", chunks), names, columns, from_, to)

    @cached_property
    def _state(self) -> dict[str, pa.Table]:
        store = Store(self.folder)
        if not self.manifest.chunks:
            raise InputError(f"The scan in {self.folder} has not finished anything yet.")
        return {name: store.read(name, self.manifest.chunks) for name in STATE}

    def _number(self, layer: int, head: int, stack: str | None, kind: str | None) -> int:
        found, start = [], 0
        for site in self.sites:
            meant = site.layer == layer and stack in (None, site.stack) and kind in (None, site.kind)
            if meant and 0 <= head < site.heads:
                found.append((start + head, site))
            start += site.heads
        if not found:
            raise SelectionError(f"There is no head L{layer}H{head} among the {len(self.sites)} sites of this scan.")
        if len(found) > 1:
            names = ", ".join(f"stack={site.stack!r}, kind={site.kind!r}" for _, site in found)
            raise SelectionError(f"There are several heads L{layer}H{head}; say which: {names}.")
        return found[0][0]

    def _register_parts(self, connection: Any) -> None:
        import pandas as pd

        store, chunks = Store(self.folder), self.manifest.chunks
        texts, tokens = store.parts("texts", chunks), store.parts("tokens", chunks)
        if texts:
            connection.execute(f"CREATE VIEW texts AS {_selected(texts)}")
        else:
            kept = self._state["kept"].select(["text", "content", "place"])
            pieces = [len(row) for row in self._state["kept"]["pieces"].to_pylist()]
            connection.register("texts", kept.to_pandas().assign(tokens=pieces))
        if tokens:
            connection.execute(f"CREATE VIEW tokens AS {_selected(tokens)}")
            linked = pd.DataFrame(head_names([self.sites[index] for index in self.manifest.linked]))
            connection.register("linked_heads", linked.assign(slot=range(1, len(linked) + 1)))
            connection.execute(
                "CREATE VIEW links AS SELECT tokens.text, tokens.position AS query, tokens.piece AS query_piece, "
                "linked_heads.* EXCLUDE (slot), tokens.strongest[slot] AS key, tokens.weight[slot]::FLOAT AS weight "
                "FROM tokens CROSS JOIN linked_heads"
            )


def _selected(paths: list[Path]) -> str:
    """All rows of some files, in SQL; their names are quoted."""
    quoted = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"SELECT * FROM read_parquet([{quoted}])"  # noqa: S608


def _check_measure(name: str) -> None:
    if name not in MEASURES:
        raise SelectionError(f"There is no measure {name!r}; the measures are {', '.join(MEASURES)}.")
