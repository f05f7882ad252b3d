from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from attention_analyzer.errors import InputError, Option
from attention_analyzer.text.readers import bounds
from attention_analyzer.text.readers.opened import Lines, lines_of
from attention_analyzer.text.readers.row import (
    MOST_COLUMNS,
    USUAL_COLUMNS,
    BadRow,
    Reader,
    ReadOptions,
    Row,
    usual_column,
)

#: Stands for a line that cannot be used, so that the row which it belongs to can be recognized.
_BAD_LINE = "\udfff"


#: What columns may be separated by, and what it is called.
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: What spreadsheets write before everything else, to name the delimiter.
_SEP = re.compile(r'"?sep=(.)"?\s*')


@dataclass(frozen=True)
class _Table:
    """The rows, the columns' names, and the line of a first row that was read already."""

    rows: Iterator[list[str]]
    names: list[str]
    first_line: int | None = None


class CsvRows(Reader):
    """Columns separated by commas, tabs or what is asked for, under a line of names; quoted fields may hold line ends.

    Line ends inside a field are newlines, whatever the file has. A file whose first line looks like another delimiter's
    is refused, because its texts would be cut wrongly.
    """

    name = "CSV"
    suffixes = (".csv", ".tsv")

    def columns(self, path: Path, options: ReadOptions) -> list[str]:
        with lines_of(path, options.encoding) as lines:
            return _begun(path, _Record(lines), options).names[:MOST_COLUMNS]

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        with lines_of(path, options.encoding) as lines:
            record = _Record(lines)
            table = _begun(path, record, options)
            note = " (turn the header off if its first line has no names)" if options.header else ""
            at = table.names.index(usual_column(table.names, table.names, options.column, path, note))
            line = table.first_line
            while True:
                place, line = f"{path}, line {line or lines.number + 1}", None
                record.start()
                try:
                    fields = next(table.rows, None)
                except csv.Error as error:
                    if record.over and "unexpected end" in str(error):
                        yield BadRow(f"{place} to the end", "a quoted field is never closed", lines.share)
                    else:
                        yield BadRow(place, f"the row cannot be read ({error})", lines.share)
                    continue
                if fields is None:
                    return
                if not fields:
                    continue
                if any(_BAD_LINE in field for field in fields):
                    yield BadRow(place, lines.problem, lines.share)
                elif len(fields) != len(table.names):
                    yield BadRow(
                        place, f"{len(table.names)} columns were expected, {len(fields)} were met", lines.share
                    )
                else:
                    yield Row(fields[at], place, share=lines.share)


def _begun(path: Path, record: _Record, options: ReadOptions) -> _Table:
    """The table, its first line read.

    Raises:
        InputError: it is empty, its first line cannot be read, or it is not separated by what was expected.
    """
    csv.field_size_limit(bounds.MAX_TEXT)  # the module's own limit is made for spreadsheets
    delimiter = options.delimiter or ("\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ",")
    line = next(record, None)
    if line is not None and options.delimiter is None and (named := _SEP.fullmatch(line)):
        delimiter, line = named[1], next(record, None)
    number = record.lines.number
    if line is None:
        raise InputError(f"{path} is empty; a first line with the names of the columns was expected.")
    rows = csv.reader(chain([line], record), delimiter=delimiter, strict=True)
    try:
        first = next(rows)
    except csv.Error as error:
        raise InputError(f"The first line of {path} has no names of columns ({error}).") from None
    if any(_BAD_LINE in field for field in first):
        raise InputError(f"The first line of {path} has no names of columns ({record.lines.problem}).")
    if options.delimiter is None:
        _check_delimiter(path, line, first, delimiter, options)
    if not options.header:
        return _Table(chain([first], rows), [str(column + 1) for column in range(len(first))], number)
    if len(first) == 1 and options.column is None and _is_a_text(first[0]):
        raise InputError(
            f"The first line of {path} should name its column, but is {first[0][:40]!r}",
            [
                Option("header", "False", "pass {} if that is a text"),
                Option("column", "…", "pass {} if it is the name"),
            ],
        )
    return _Table(rows, first)


def _check_delimiter(path: Path, line: str, first: list[str], delimiter: str, options: ReadOptions) -> None:
    """Raises InputError where another delimiter makes more of the first line."""
    wanted = {options.column} if options.column is not None else set(USUAL_COLUMNS)
    for other, name in _DELIMITERS.items():
        if other == delimiter or other not in line or (len(first) > 1 and wanted & set(first)):
            continue
        try:
            split = next(csv.reader([line], delimiter=other))
        except csv.Error:
            continue
        if len(split) > 1 and (len(first) == 1 or wanted & set(split)):
            raise InputError(
                f"{path} seems to be separated by {name}, not by {_DELIMITERS.get(delimiter, repr(delimiter))}; set "
                "the "
                f"delimiter: {other!r} if {name} separate its columns, else {delimiter!r}."
            )


def _is_a_text(name: str) -> bool:
    """Whether the name of a file's only column looks more like its first text."""
    return len(name.split()) > 3 or len(name) > 40 or name.strip()[-1:] in {".", "!", "?", "。", "！", "？", "…"}


class _Record(Iterator[str]):
    """Lines with their ends, for the module; a row of more characters than a text may have ends in an error."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.over = False
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
        try:
            line = next(self._rest)
        except StopIteration:
            self.over = True
            raise
        line = (_BAD_LINE if line is None else line) + "\n"
        self.size += len(line)
        self.quotes += line.count('"')
        return line
