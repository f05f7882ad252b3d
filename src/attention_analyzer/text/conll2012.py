"""CoNLL-2012 coreference: documents of sentences, with mentions in the last column; what is malformed has its line.

Format: https://conll.cemantix.org/2012/data.html. Columns may be divided by tabs or runs of spaces; files whose last
column is empty instead of "-" (LitBank) are read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

from attention_analyzer.errors import FileFormatError
from attention_analyzer.text.annotation import AnnotatedText, Mention

_FEWEST_COLUMNS = 5
#: Words of a passage at most; a mention that is never closed would make it as long as the file.
_MOST_WORDS = 1 << 20
_PART = re.compile(r"(\()?([^()|\s]+?)(\))?")


def read_conll2012(lines: Iterable[str], source: str = "text", longest: int = 120) -> Iterator[AnnotatedText]:
    """Passages of whole sentences of up to ``longest`` words (one sentence may be longer), with their mentions.

    A model has positions for a limited text, so a document is read in passages; antecedents are looked for inside them.

    Raises:
        FileFormatError: a line is malformed; the message has source, line and reason.
    """
    document = _Document(source, "", longest)
    number = 0
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if line.startswith("#begin document"):
            document = _Document(source, line[len("#begin document") :].strip(), longest)
        elif line.startswith("#end document"):
            yield from document.finish(number)
            document = _Document(source, "", longest)
        elif line.startswith("#"):
            continue
        elif not line.strip():
            yield from document.end_sentence()
        else:
            document.word(line, number)
    yield from document.finish(number)


class _Document:
    def __init__(self, source: str, name: str, longest: int) -> None:
        self.source, self.name, self.longest = source, name, longest
        self.words: list[str] = []
        self.lines: list[int] = []
        self.sentence_start = 0
        self.mentions: list[Mention] = []
        self.open: dict[str, list[tuple[int, int]]] = {}

    def word(self, line: str, number: int) -> None:
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) < _FEWEST_COLUMNS:
            self._fail(number, f"at least {_FEWEST_COLUMNS} columns were expected, {len(columns)} were met")
        form = columns[3].strip()
        if not form:
            self._fail(number, "the word is empty")
        index = len(self.words)
        if index == _MOST_WORDS:
            self._fail(number, f"the passage has more than {_MOST_WORDS:,} words")
        self.words.append(form)
        self.lines.append(number)
        label = columns[-1].strip()
        for part in label.split("|") if label not in ("", "-", "_") else ():
            match = _PART.fullmatch(part)
            if match is None or not (match[1] or match[3]):
                self._fail(number, f"{part!r} opens or closes no mention; '(3', '3)' or '(3)' was expected")
            if match[1]:
                self.open.setdefault(match[2], []).append((index, number))
            if match[3]:
                if not self.open.get(match[2]):
                    self._fail(number, f"mention {match[2]} is closed, but was not opened")
                start, _ = self.open[match[2]].pop()
                self.mentions.append(Mention(match[2], start, index + 1))

    def end_sentence(self) -> Iterator[AnnotatedText]:
        """A passage, if the sentence that ends here no longer fits it."""
        if len(self.words) > self.longest and self.sentence_start > 0 and not any(self.open.values()):
            rest = self.sentence_start
            yield self._passage(rest)
            self.words, self.lines = self.words[rest:], self.lines[rest:]
            moved = (Mention(each.entity, each.start - rest, each.stop - rest) for each in self.mentions)
            self.mentions = [each for each in moved if each.start >= 0]
        self.sentence_start = len(self.words)

    def finish(self, number: int) -> Iterator[AnnotatedText]:
        yield from self.end_sentence()
        for name, starts in self.open.items():
            if starts:
                self._fail(starts[-1][1], f"mention {name} is opened, but not closed by line {number}")
        if self.words:
            yield self._passage(len(self.words))
        self.words, self.lines, self.mentions, self.sentence_start = [], [], [], 0

    def _passage(self, stop: int) -> AnnotatedText:
        mentions = tuple(sorted((m for m in self.mentions if m.stop <= stop), key=lambda m: (m.start, m.stop)))
        raw = AnnotatedText(
            text="",
            spans=((0, 0),) * stop,
            forms=tuple(self.words[:stop]),
            mentions=mentions,
            name=self.name,
            source=self.source,
            line=self.lines[0],
        )
        return raw.spaced()

    def _fail(self, line: int, reason: str) -> NoReturn:
        raise FileFormatError(f"{self.source}, line {line}: {reason}.")
