from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from attention_analyzer.errors import InputError
from attention_analyzer.text.readers.opened import Lines, lines_of
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row, usual_column

#: The longest field, in characters; the module's own limit is made for spreadsheets.
_LONGEST = 1 << 24
_NOT_UTF8 = "\udfff"


class CsvRows(Reader):
    """Comma- or tab-separated values with a line of names; quoted fields may hold line ends."""

    name = "CSV"
    suffixes = (".csv", ".tsv")

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        csv.field_size_limit(_LONGEST)
        tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
        with lines_of(path) as lines:
            rows = csv.reader(_with_ends(lines), delimiter="\t" if tabs else ",", strict=True)
            names = next(rows, None)
            if names is None:
                raise InputError(f"{path} is empty; a first line with the names of the columns was expected.")
            column = usual_column(names, names, options.column, path)
            at = names.index(column)
            while True:
                place = f"{path}, line {lines.number + 1}"
                try:
                    fields = next(rows, None)
                except csv.Error as error:
                    yield BadRow(place, f"the row cannot be read ({error})", lines.share)
                    continue
                if fields is None:
                    return
                if not fields:
                    continue
                if any(_NOT_UTF8 in field for field in fields):
                    yield BadRow(place, lines.not_utf8, lines.share)
                elif len(fields) != len(names):
                    yield BadRow(place, f"{len(names)} columns were expected, {len(fields)} were met", lines.share)
                else:
                    yield Row(fields[at], place, share=lines.share)


def _with_ends(lines: Lines) -> Iterator[str]:
    for line in lines:
        yield (_NOT_UTF8 if line is None else line) + "\n"
