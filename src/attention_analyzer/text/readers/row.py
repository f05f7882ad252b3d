"""What a reader gives: texts with the place they came from, and the rows that could not be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from attention_analyzer.text.annotation import AnnotatedText
from attention_analyzer.text.tokenization import Pair

#: What of a plain text file is one text.
Unit = Literal["line", "paragraph", "file"]
#: Characters of a row that was left out that are kept, to recognize it.
SHOWN = 40
#: Columns that are offered to choose from at most.
MOST_COLUMNS = 1000
#: Columns and keys that hold the text where none is named, the first that is there.
USUAL_COLUMNS = ("text", "content", "sentence", "document")


@dataclass(frozen=True)
class Row:
    """One text.

    Attributes:
        text: the text, or a pair of texts.
        place: where it was read, such as ``reviews.csv, line 17``.
        annotation: what an annotated file says of its words.
        share: how much of its source has been read by then, in [0, 1]; None where that is unknown.
    """

    text: str | Pair
    place: str
    annotation: AnnotatedText | None = None
    share: float | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read: where it is, why, and its first characters where they are known."""

    place: str
    reason: str
    share: float | None = None
    start: str = ""


@dataclass(frozen=True)
class ReadOptions:
    """Reading options.

    Attributes:
        column: the column or key that holds the text; None for one of :data:`USUAL_COLUMNS`.
        unit: what of a plain text file is one text.
        encoding: of text files; None for UTF-8, or UTF-16 with a byte-order mark.
        delimiter: between the columns of a CSV file; None for commas (in .tsv files tabs).
        header: whether the first line of a CSV file has the names of the columns; else they are "1", "2", …
    """

    column: str | None = None
    unit: Unit = "line"
    encoding: str | None = None
    delimiter: str | None = None
    header: bool = True

    def __post_init__(self) -> None:
        from attention_analyzer.errors import InputError
        from attention_analyzer.text.decoding import checked_encoding

        if self.encoding is not None:
            checked_encoding(self.encoding)
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n"\0'):
            raise InputError(f"The delimiter must be one character such as ',' or ';', not {self.delimiter!r}.")


class Reader(ABC):
    """Reads one kind of file as a stream, never the whole of it.

    What is wrong with a row is told by a :class:`BadRow` in its place, and reading goes on.
    """

    name: ClassVar[str]
    #: Lower-case ends of file names; empty for what is known by :meth:`reads` alone.
    suffixes: ClassVar[tuple[str, ...]]

    def reads(self, path: Path) -> bool:
        """Whether a file or folder is of this kind."""
        return path.is_file() and path.name.lower().removesuffix(".gz").endswith(self.suffixes)

    def columns(self, path: Path, options: ReadOptions) -> list[str]:
        """The names of a table's columns or keys; empty for what has none.

        Raises:
            OSError: the file cannot be opened.
            FileFormatError, InputError: it is damaged, or its first row cannot be read.
        """
        return []

    @abstractmethod
    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        """Its rows, in order.

        Raises:
            OSError: the file cannot be opened.
            InputError: it has no text of the kind that was asked for (no such column).
        """


def usual_column(names: list[str], texts: list[str], wanted: str | None, path: Path, note: str = "") -> str:
    """The column that holds the text: the wanted one, a usual one, or the only one with strings.

    Args:
        names: of all columns; ``texts``: of those that hold strings.
        note: what to add to the message.

    Raises:
        InputError: it is not there, or none can be told.
    """
    from attention_analyzer.errors import InputError, Option

    known = ", ".join(map(repr, names))
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{path} has no column {wanted!r}; it has {known}{note}.")
        return wanted
    for name in USUAL_COLUMNS:
        if name in names:
            return name
    if len(texts) == 1:
        return texts[0]
    remedy = Option("column", "…", "choose the one with the text: {}")
    raise InputError(f"{path} has several columns that may hold the text, {known}{note}", [remedy])
