from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.conll2012 import read_conll2012
from attention_analyzer.text.conllu import read_conllu
from attention_analyzer.text.readers import bounds
from attention_analyzer.text.readers.opened import lines_of
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row


class ConllU(Reader):
    """Annotated sentences; a malformed one is left out, with its line and the reason."""

    name = "CoNLL-U"
    suffixes = (".conllu",)

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        block: list[str] = []
        first, size = 1, 0
        with lines_of(path, options.encoding) as lines:
            for line in lines:
                if line is None:
                    yield BadRow(f"{path}, line {lines.number}", lines.problem, lines.share)
                elif line.strip():
                    first = first if size else lines.number
                    size += len(line)
                    if size <= bounds.MAX_TEXT:
                        block.append(line)
                    else:
                        block.clear()
                elif size:
                    yield from _sentence(block, path, first, lines.share)
                    block, size = [], 0
        if size:
            yield from _sentence(block, path, first, 1.0)


class Conll2012(Reader):
    """Documents with coreference, in passages of up to 120 words; what follows a malformed line is not read."""

    name = "CoNLL-2012"
    suffixes = (".conll", ".v4_gold_conll")

    def read(self, path: Path, options: ReadOptions) -> Iterator[Row | BadRow]:
        with lines_of(path, options.encoding) as lines:
            try:
                for text in read_conll2012((line or "" for line in lines), str(path)):
                    yield Row(text.text, f"{path}, line {text.line}", text, lines.share)
            except FileFormatError as error:
                yield _bad(error, path, lines.number, lines.share)


def _sentence(block: list[str], path: Path, first: int, share: float) -> Iterator[Row | BadRow]:
    """A sentence, from its lines; none where they were too many to be kept."""
    if not block:
        yield BadRow(f"{path}, line {first}", bounds.too_long("sentence"), share)
    try:
        for sentence in read_conllu(block, str(path), first):
            yield Row(sentence.text, f"{path}, line {sentence.line}", sentence, share)
    except FileFormatError as error:
        yield _bad(error, path, first, share)


def _bad(error: FileFormatError, path: Path, line: int, share: float) -> BadRow:
    place, colon, reason = str(error).removeprefix(str(path)).partition(": ")
    return BadRow(f"{path}{place}" if colon else f"{path}, line {line}", reason.removesuffix("."), share)
