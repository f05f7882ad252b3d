from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from attention_analyzer.errors import InputError
from attention_analyzer.text.readers import bounds
from attention_analyzer.text.readers.opened import Lines, lines_of
from attention_analyzer.text.readers.row import MOST_COLUMNS, BadRow, Reader, ReadOptions, Row, usual_column

#: Stands for a line that cannot be used, so that the row which it belongs to can be recognized.
_BAD_LINE = "\udfff"


class CsvRows(Reader):
    """Comma- or tab-separated values with a line of names; quoted fields may hold line ends."""

    name = "CSV"
    suffixes = (".csv", ".tsv")

    def columns(self, path: Path) -> list[str]:
        with lines_of(path) as lines:
            _, names = self._begun(path, _Record(lines))
        return names[:MOST_COLUMNS]

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        with lines_of(path) as lines:
            record = _Record(lines)
            rows, names = self._begun(path, record)
            column = usual_column(names, names, options.column, path)
            at = names.index(column)
            while True:
                place = f"{path}, line {lines.number + 1}"
                record.start()
                try:
                    fields = next(rows, None)
                except csv.Error as error:
                    yield BadRow(place, f"the row cannot be read ({error})", lines.share)
                    continue
                if fields is None:
                    return
                if not fields:
                    continue
                if any(_BAD_LINE in field for field in fields):
                    yield BadRow(place, lines.problem, lines.share)
                elif len(fields) != len(names):
                    yield BadRow(place, f"{len(names)} columns were expected, {len(fields)} were met", lines.share)
                else:
                    yield Row(fields[at], place, share=lines.share)

    def _begun(self, path: Path, record: _Record) -> tuple[Iterator[list[str]], list[str]]:
        """The rows after the first, and the first, which has the names."""
        csv.field_size_limit(bounds.MAX_TEXT)  # the module's own limit is made for spreadsheets
        tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
        rows = csv.reader(record, delimiter="\t" if tabs else ",", strict=True)
        try:
            names = next(rows, None)
        except csv.Error as error:
            raise InputError(f"The first line of {path} has no names of columns ({error}).") from None
        if names is None:
            raise InputError(f"{path} is empty; a first line with the names of the columns was expected.")
        if any(_BAD_LINE in name for name in names):
            raise InputError(f"The first line of {path} has no names of columns ({record.lines.problem}).")
        return rows, names


class _Record(Iterator[str]):
    """Lines with their ends, for the module; a row of more characters than a text may have ends in an error."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self._rest = iter(lines)
        self.start()

    def start(self) -> None:
        """The next line is the first of a row."""
        self.size = self.quotes = 0

    def __next__(self) -> str:
        line = self._line()
        if self.size > bounds.MAX_TEXT:
            while self.quotes % 2:  # inside a quoted field; the next row starts after it
                try:
                    self._line()
                except StopIteration:
                    break
            raise csv.Error(bounds.too_long("row"))
        return line

    def _line(self) -> str:
        line = next(self._rest)
        line = (_BAD_LINE if line is None else line) + "\n"
        self.size += len(line)
        self.quotes += line.count('"')
        return line
