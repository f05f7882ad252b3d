"""CoNLL-U, with or without PropBank columns, sentence by sentence; what is malformed is named with its line.

Columns: https://universaldependencies.org/format.html. Universal Propositions add a column with the predicate's sense
and one column of roles for every predicate of the sentence, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.text.annotation import AnnotatedText, Argument, Predicate, spans_of_words
from attention_analyzer.text.words import Span

_COLUMNS = 10
_NOTHING = "_"
#: Digits of a word's number at most.
_DIGITS = 9
#: What a column of roles says of words that are no argument: nothing, or that they are (part of) the predicate.
_NO_ROLE = frozenset({_NOTHING, "", "V", "C-V"})


@dataclass(frozen=True)
class _Row:
    line: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Surface:
    """One run of characters between spaces: a word, or several written as one ("don't")."""

    form: str
    words: int
    space_after: bool


def read_conllu(lines: Iterable[str], source: str = "text", start: int = 1) -> Iterator[AnnotatedText]:
    """Sentences of a CoNLL-U stream whose first line has the number ``start``.

    Raises:
        FileFormatError: a line is malformed; the message has source, line and reason.
    """
    comments: dict[str, str] = {}
    rows: list[_Row] = []
    first = 0
    for number, line in enumerate(lines, start=start):
        line = line.rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
        if not line.strip():
            if rows:
                yield _sentence(rows, comments, source, first)
            comments, rows = {}, []
        elif line.startswith("#") and not rows:
            name, equals, value = line[1:].partition("=")
            if equals:
                comments[name.strip()] = value.strip()
        else:
            first = first if rows else number
            rows.append(_row(line, number, rows, source))
    if rows:
        yield _sentence(rows, comments, source, first)


def _row(line: str, number: int, before: list[_Row], source: str) -> _Row:
    columns = tuple(line.split("\t"))
    if len(columns) < _COLUMNS:
        hint = " (they seem to be divided by spaces)" if len(line.split()) >= _COLUMNS else ""
        _fail(source, number, f"{_COLUMNS} columns divided by tabs were expected, {len(columns)} were met{hint}")
    if before and len(columns) != len(before[0].columns):
        _fail(source, number, f"{len(columns)} columns, but {len(before[0].columns)} in the sentence's first line")
    return _Row(number, columns)


def _sentence(rows: list[_Row], comments: dict[str, str], source: str, first: int) -> AnnotatedText:
    words, surfaces = _words_and_surfaces(rows, source)
    if not words:
        _fail(source, first, "a sentence without words")
    text = comments.get("text") or "".join(
        surface.form + (" " if surface.space_after and index < len(surfaces) - 1 else "")
        for index, surface in enumerate(surfaces)
    )
    try:
        spans = _spans(text, surfaces, [row.columns[1] for row in words])
    except InputError as error:
        _fail(source, first, f"the words do not make up the sentence's '# text': {error}")
    governors = _governors(words, source)
    partial = AnnotatedText(
        text=text,
        spans=tuple(spans),
        forms=tuple(row.columns[1] for row in words),
        parts_of_speech=tuple(row.columns[3] for row in words),
        governors=governors,
        relations=tuple(row.columns[7] for row in words),
        name=comments.get("sent_id", ""),
        source=source,
        line=first,
    )
    predicates = _predicates(words, partial, source) if len(words[0].columns) > _COLUMNS else ()
    return replace(partial, predicates=predicates) if predicates else partial


def _words_and_surfaces(rows: list[_Row], source: str) -> tuple[list[_Row], list[_Surface]]:
    words: list[_Row] = []
    surfaces: list[_Surface] = []
    inside = 0  # the last word of the range that is being read
    for row in rows:
        label, form, misc = row.columns[0], row.columns[1], row.columns[9]
        space_after = "SpaceAfter=No" not in misc.split("|")
        if not form:
            _fail(source, row.line, "the word is empty")
        start, dash, stop = label.partition("-")
        if dash and _is_number(start) and _is_number(stop):
            if int(start) != len(words) + 1 or int(stop) < int(start) or inside > len(words):
                _fail(source, row.line, f"the range {label} does not start at word {len(words) + 1}")
            inside = int(stop)
            surfaces.append(_Surface(form, int(stop) - int(start) + 1, space_after))
        elif "." in label and label.replace(".", "", 1).isdecimal():
            continue  # an empty node of enhanced dependencies: no word of the text
        elif _is_number(label):
            if int(label) != len(words) + 1:
                _fail(source, row.line, f"word {len(words) + 1} was expected, but the number is {label}")
            words.append(row)
            if int(label) > inside:
                surfaces.append(_Surface(form, 1, space_after))
        else:
            _fail(source, row.line, f"{label!r} is no word number")
    if inside > len(words):
        _fail(source, rows[-1].line, f"a range goes up to word {inside}, but the sentence ends with {len(words)}")
    return words, surfaces


def _spans(text: str, surfaces: list[_Surface], forms: list[str]) -> list[Span]:
    spans: list[Span] = []
    for surface, (start, stop) in zip(surfaces, spans_of_words(text, [s.form for s in surfaces]), strict=True):
        inside = forms[len(spans) : len(spans) + surface.words]
        if "".join(inside).casefold() == surface.form.casefold():
            for form in inside:
                spans.append((start, start + len(form)))
                start += len(form)
        else:
            # "im" for "in dem": the words have no characters of their own.
            spans += [(start, stop)] * surface.words
    return spans


def _governors(words: list[_Row], source: str) -> tuple[int | None, ...]:
    if all(row.columns[6] == _NOTHING for row in words):
        return ()
    governors: list[int | None] = []
    for index, row in enumerate(words):
        label = row.columns[6]
        if label in (_NOTHING, "0"):
            governors.append(None)
        elif not _is_number(label):
            _fail(source, row.line, f"the governor {label!r} is no word number")
        elif int(label) > len(words):
            _fail(source, row.line, f"the governor is word {label}, but the sentence has {len(words)} words")
        elif int(label) == index + 1:
            _fail(source, row.line, "the word is its own governor")
        else:
            governors.append(int(label) - 1)
    checked: set[int] = set()
    for index, row in enumerate(words):
        path: set[int] = set()
        at: int | None = index
        while at is not None and at not in checked:
            if at in path:
                _fail(source, row.line, "the governors run in a circle")
            path.add(at)
            at = governors[at]
        checked |= path
    return tuple(governors)


def _is_number(label: str) -> bool:
    """Whether it can be the number of a word; Python refuses to convert thousands of digits."""
    return label.isdecimal() and len(label) <= _DIGITS


def _predicates(words: list[_Row], sentence: AnnotatedText, source: str) -> tuple[Predicate, ...]:
    if all(role in _NO_ROLE for row in words for role in row.columns[_COLUMNS + 1 :]):
        return ()  # released files fill the columns of unannotated sentences in several ways
    at = [index for index, row in enumerate(words) if row.columns[_COLUMNS] not in (_NOTHING, "")]
    columns = len(words[0].columns) - _COLUMNS - 1
    if columns != len(at):
        _fail(
            source,
            words[0].line,
            f"{len(at)} predicates have a sense, but there are {columns} columns of roles; one each was expected",
        )
    predicates = []
    for number, word in enumerate(at):
        arguments = []
        for index, row in enumerate(words):
            role = row.columns[_COLUMNS + 1 + number]
            if index == word or role in _NO_ROLE:
                continue
            # Roles are given for head words; what depends on them, the predicate's own part aside, is the span.
            covered = set(sentence.subtree(index)) if sentence.governors else {index}
            if word in covered:
                covered -= set(sentence.subtree(word))
            arguments.append(Argument(role, tuple(sorted(covered | {index})), index))
        predicates.append(Predicate(word, words[word].columns[_COLUMNS], tuple(arguments)))
    return tuple(predicates)


def _fail(source: str, line: int, reason: str) -> NoReturn:
    raise FileFormatError(f"{source}, line {line}: {reason}.")
