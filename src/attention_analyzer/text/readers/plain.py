from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from attention_analyzer.text.readers import bounds
from attention_analyzer.text.readers.opened import lines_of
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row


class PlainText(Reader):
    """Plain text: a text is a line, a paragraph (up to an empty line; its lines are joined) or the whole file."""

    name = "plain text"
    suffixes = (".txt", ".md", ".text")

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        """Empty lines are no texts; a line that cannot be used spoils the text it belongs to."""
        between = "\n" if options.unit == "file" else " "
        text = _Text(1)
        with lines_of(path, options.encoding) as lines:
            for line in lines:
                if options.unit == "paragraph" and line is not None and not line.strip():
                    yield from text.row(path, between, lines.share)
                    text = _Text(lines.number + 1)
                elif options.unit == "line":
                    text = _Text(lines.number)
                    text.add(line, lines.number, lines.problem)
                    yield from text.row(path, between, lines.share)
                else:
                    text.add(line, lines.number, lines.problem)
        if options.unit != "line":
            yield from text.row(path, between, 1.0)


@dataclass
class _Text:
    """The lines of one text so far; of one that cannot be used, only why."""

    first: int
    lines: list[str] = field(default_factory=list)
    size: int = 0
    problem: str = ""
    at: int = 0

    def add(self, line: str | None, number: int, problem: str) -> None:
        if self.problem:
            return
        if line is None:
            self.problem, self.at = problem, number
            return
        self.size += len(line) + 1
        self.lines.append(line)
        if self.size > bounds.MAX_TEXT + 1:
            self.problem, self.at, self.lines = bounds.too_long("text"), self.first, []

    def row(self, path: Path, between: str, share: float) -> Iterator[Row | BadRow]:
        """The text, if it has any visible character."""
        if self.problem:
            yield BadRow(f"{path}, line {self.at}", self.problem, share)
        elif any(line.strip() for line in self.lines):
            joined = between.join(line.strip() if between == " " else line for line in self.lines)
            yield Row(joined, f"{path}, line {self.first}", share=share)
