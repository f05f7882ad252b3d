"""A finished or growing scan, to be asked: tables of heads, examples, SQL, and where heads look from and to."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_analyzer.arguments import explain_arguments
from attention_analyzer.corpus.chunks import Problem
from attention_analyzer.corpus.manifest import Manifest
from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.search import Search
from attention_analyzer.corpus.sql import Limits, Tables, answer
from attention_analyzer.corpus.state_tables import PAIRS, head_names, most_rows, problems_of, summary_of
from attention_analyzer.corpus.store import PARTS, STATE, Damage, Store, told
from attention_analyzer.corpus.summary import Summary
from attention_analyzer.deprecation import warn_renamed
from attention_analyzer.errors import FileFormatError, InputError, OnError, Option, SelectionError, check_on_error
from attention_analyzer.site import Site, from_end, is_layer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@explain_arguments
@dataclass(frozen=True)
class Corpus:
    """What a scan has found; of a scan that still runs, what it had at its last commit.

    Attributes:
        folder: the store.
        manifest: model, settings, how many texts and tokens, how it was proved.
        errors: what becomes of damaged files of texts and tokens when they are asked for: "raise", or "skip" for
            answers from the others.
    """

    folder: Path
    manifest: Manifest
    errors: OnError = "raise"
    _whole: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, folder: str | Path, *, errors: OnError = "raise") -> Corpus:
        """The scan in a folder.

        Args:
            errors: "raise", or "skip" to leave out the files of texts and tokens that are damaged, with a warning that
                names them; they are listed among the :meth:`problems`.

        Raises:
            InputError: there is none.
            FileFormatError: its manifest is damaged, or written by a newer version.
        """
        check_on_error(errors)
        return cls(Path(folder), Store(Path(folder)).manifest(), errors)

    @classmethod
    def open(cls, folder: str | Path, *, errors: OnError = "raise") -> Corpus:
        """The old name of :meth:`load`."""
        warn_renamed("Corpus.open", "Corpus.load")
        return cls.load(folder, errors=errors)

    def verify(self) -> pd.DataFrame:
        """Compare every file of the store with what the scan wrote: ``file, reason``, one row per file that is
        missing, cut off, changed, renamed, or not of this scan; no row if all is well.
        """
        import pandas as pd

        damage = Store(self.folder).verify(self.manifest)
        return pd.DataFrame({"file": [each.file for each in damage], "reason": [each.reason for each in damage]})

    def __repr__(self) -> str:
        done = self.manifest
        state = "" if done.finished else ", not finished"
        return f"<Corpus of {done.texts:,} texts, {done.tokens:,} tokens, by {done.model}{state}: {self.folder}>"

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(**site) for site in self.manifest.sites)

    @cached_property
    def summary(self) -> Summary:
        """Sums and examples as they were gathered.

        Raises:
            InputError: nothing is finished yet, or no text could be used.
            FileFormatError: the store is damaged.
        """
        state = self._state
        if not self.manifest.sites:
            raise InputError(
                f"No text of the scan in {self.folder} could be used: {self.manifest.problems:,} rows were skipped; "
                "problems() lists the reasons."
            )
        return summary_of(self.manifest.sites, state, self.manifest.settings["examples"])

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
        """Strongest examples of a head, the strongest first; exact over the whole corpus.

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
            axes = kept[row.text].axes(site_of[row.number])
            for side, shown in zip(pieces, axes, strict=True):
                at = getattr(row, side)
                pieces[side].append(None if at != at else shown[int(at)])  # noqa: PLR0124 (NaN is not itself)
        for side, column in pieces.items():
            table[side] = table[side].astype("Int64")
            table[f"{side}_piece"] = column
        return table

    def problems(self) -> pd.DataFrame:
        """Rows that were left out: ``row, place, reason, start`` (its first characters, where they are known); the
        first ten thousand of ``manifest.problems``. With ``errors="skip"`` also the files that were left out of
        answers, which have no row number.
        """
        import pandas as pd

        table = pd.DataFrame([asdict(each) for each in problems_of(self._state["problems"])], columns=_PROBLEM)
        damaged = self._damaged if self.errors == "skip" else []
        if damaged:
            files = [(pd.NA, str(self.folder / each.file), f"the file {each.reason}", "") for each in damaged]
            table = pd.concat([table.astype({"row": "Int64"}), pd.DataFrame(files, columns=_PROBLEM)])
            table = table.astype({"row": "Int64"}).reset_index(drop=True)
        return table

    def sql(self, query: str, *, timeout: float = 300.0, memory: int = 2048, unsafe: bool = False) -> pd.DataFrame:
        """The answer to any SQL query that reads (DuckDB's).

        Tables: ``heads`` (as :meth:`heads`), ``examples``, ``problems`` and ``texts`` (text, content, place, tokens).
        Where links are kept also ``tokens`` (text, position, piece, special, word, pos, relation, governor …) and
        ``links``: for every token and head (text, query, query_piece, stack, kind, layer, head) the key it looks at
        most, and the weight on it (float16).

        Args:
            timeout: seconds that the query may take; ``memory``: megabytes of its working memory and of its answer.
            unsafe: let the query read and write files, attach databases and load extensions. Only for queries that
                are your own.

        Raises:
            InputError: the query is empty, wrong, or not allowed, or it went beyond its limits.
            FileFormatError: the store is damaged.
            MissingDependencyError: DuckDB is not installed.
        """
        return answer(query, self._tables, Limits(timeout, memory, unsafe))

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
            raise SelectionError(f"L{layer}H{head} does not look at the main text; its top keys are not stored.")
        return search.matches(search.columns[number], limit)

    def _search(self, from_: str, to: str) -> Search:
        if not self.manifest.linked:
            raise InputError(
                f"The scan in {self.folder} was run without top keys (links), so search is not available; scan "
                "again with links."
            )
        sites, number = self.sites, 0
        columns: dict[int, int] = {}
        for index, site in enumerate(sites):
            for head in range(site.heads):
                if index in self.manifest.linked:
                    columns[number + head] = len(columns)
            number += site.heads
        names = head_names([sites[index] for index in self.manifest.linked])
        parts = self._parts()
        return Search(parts["tokens"], parts["texts"], names, columns, from_, to)

    @cached_property
    def _state(self) -> dict[str, pa.Table]:
        store = Store(self.folder)
        if not self.manifest.chunks:
            raise InputError(f"The scan in {self.folder} has no results yet; wait for it, or run the same scan again.")
        most = most_rows(self.manifest.sites, self.manifest.settings["examples"])
        return {name: store.read(name, self.manifest, most[name]) for name in STATE}

    def _number(self, layer: int, head: int, stack: str | None, kind: str | None) -> int:
        found, start = [], 0
        for site in self.sites:
            meant = is_layer(site, layer, self.sites) and stack in (None, site.stack) and kind in (None, site.kind)
            if meant and (own := from_end(head, site.heads)) >= 0:
                found.append((start + own, site))
            start += site.heads
        if not found:
            raise SelectionError(f"There is no head L{layer}H{head} among the {len(self.sites)} sites of this scan.")
        if len(found) > 1:
            names = ", ".join(f"stack={site.stack!r}, kind={site.kind!r}" for _, site in found)
            raise SelectionError(f"There are several heads L{layer}H{head}; say which: {names}.")
        return found[0][0]

    @property
    def _damaged(self) -> list[Damage]:
        """Files of texts and tokens that are not as the scan wrote them; a file that was found whole is not read again
        until it changes.
        """
        store = Store(self.folder)
        listed = [file for name in PARTS for file in store.parts(name, self.manifest).values()]
        known = {file: _stamp(self.folder / file) for file in listed}
        unknown = [file for file in listed if known[file] is None or self._whole.get(file) != known[file]]
        damage = store.damage(self.manifest, unknown)
        bad = {each.file for each in damage}
        self._whole.update({file: stamp for file in unknown if file not in bad and (stamp := known[file]) is not None})
        if self.manifest.files is None:
            damage += store.lost_rows(self.manifest)
        return damage

    def _parts(self) -> dict[str, list[Path]]:
        """The files of texts and tokens, chunk by chunk, without chunks of which one is damaged.

        Raises:
            FileFormatError: some are, and they are not to be skipped.
        """
        damage = self._damaged
        if damage and self.errors == "raise":
            raise FileFormatError(
                f"The store {self.folder} is damaged, so an answer would be incomplete: {told(damage)} "
                "(attn corpus verify lists all damage)",
                [Option("errors", "'skip'", "pass {} to query the rest")],
            )
        if damage:
            warnings.warn(f"Skipped because of damage: {told(damage)}.", stacklevel=4)
        bad = {each.file for each in damage}
        by_kind = {name: Store(self.folder).parts(name, self.manifest) for name in PARTS}
        lost = {number for files in by_kind.values() for number, file in files.items() if file in bad}
        return {
            name: [self.folder / file for number, file in files.items() if number not in lost]
            for name, files in by_kind.items()
        }

    def _tables(self) -> Tables:
        """What SQL can ask."""
        import pandas as pd

        frames: dict[str, Any] = {
            "heads": self.heads(),
            "examples": self.examples_table,
            "problems": self.problems(),
        }
        parts = self._parts()
        if not self.manifest.linked:
            kept = self._state["kept"].select(["text", "content", "place"])
            pieces = [len(row) for row in self._state["kept"]["pieces"].to_pylist()]
            frames["texts"] = kept.to_pandas().assign(tokens=pieces)
            return Tables(frames, {}, {})
        linked = pd.DataFrame(head_names([self.sites[index] for index in self.manifest.linked]))
        frames["linked_heads"] = linked.assign(slot=range(1, len(linked) + 1))
        if not parts["texts"] or not parts["tokens"]:
            raise FileFormatError(f"The store {self.folder} has no file of texts and tokens left that is whole.")
        return Tables(frames, parts, {"links": _LINKS})


#: For every token and head the key it looks at most.
_LINKS = (
    "SELECT tokens.text, tokens.position AS query, tokens.piece AS query_piece, linked_heads.* EXCLUDE (slot), "
    "tokens.strongest[slot] AS key, tokens.weight[slot]::FLOAT AS weight FROM tokens CROSS JOIN linked_heads"
)
_PROBLEM = [each.name for each in fields(Problem)]


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None if it is not there."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def _check_measure(name: str) -> None:
    if name not in MEASURES:
        raise SelectionError(f"There is no measure {name!r}; the measures are {', '.join(MEASURES)}.")
