from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attention_analyzer.text.readers.opened import lines_of
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row


class PlainText(Reader):
    """Plain text: a text is a line, a paragraph (up to an empty line; its lines are joined) or the whole file."""

    name = "plain text"
    suffixes = (".txt", ".md", ".text")

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        """Empty lines are no texts; a line that is not UTF-8 spoils the text it belongs to."""
        waiting: list[str | None] = []
        first = 1
        with lines_of(path) as lines:
            for line in lines:
                if options.unit == "line":
                    waiting, first = [line], lines.number
                    if line is None or line.strip():
                        yield _row(waiting, path, first, lines.share, " ")
                elif options.unit == "paragraph" and line is not None and not line.strip():
                    if waiting:
                        yield _row(waiting, path, first, lines.share, " ")
                    waiting, first = [], lines.number + 1
                else:
                    waiting.append(line)
        if options.unit != "line" and any(line is None or line.strip() for line in waiting):
            yield _row(waiting, path, first, 1.0, " " if options.unit == "paragraph" else "\n")


def _row(lines: list[str | None], path: Path, first: int, share: float, between: str) -> Row | BadRow:
    known = [line for line in lines if line is not None]
    if len(known) < len(lines):
        bad = first + lines.index(None)
        return BadRow(f"{path}, line {bad}", "the line is not UTF-8 text; convert the file first", share)
    joined = between.join(line.strip() if between == " " else line for line in known)
    return Row(joined, f"{path}, line {first}", share=share)
