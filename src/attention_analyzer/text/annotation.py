"""A text with what linguists have said about its words, whoever said it: a treebank, spaCy, Stanza."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from attention_analyzer.errors import InputError
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.text.words import Span


@dataclass(frozen=True)
class Argument:
    """One argument of a predicate.

    Attributes:
        role: "ARG0", "ARG1", "ARGM-TMP", ….
        words: the words it covers, ascending.
        head: the word that stands for it.
    """

    role: str
    words: tuple[int, ...]
    head: int


@dataclass(frozen=True)
class Predicate:
    """A word that has arguments, and its sense ("give.01")."""

    word: int
    sense: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Mention:
    """A run of words ``[start, stop)`` that refers to an entity; mentions of one entity corefer."""

    entity: str
    start: int
    stop: int


@dataclass(frozen=True)
class WordPair:
    """Words that stand in a relation of one's own to others.

    Attributes:
        relation: its name; ``start``: the words from which it goes; ``end``: those to which. Both ascending.
    """

    relation: str
    start: tuple[int, ...]
    end: tuple[int, ...]


@dataclass(frozen=True)
class AnnotatedText:
    """A sentence (or, for coreference, a passage) and the annotation of its words.

    Attributes:
        text: the text itself.
        spans: characters ``[start, stop)`` of each word in the text.
        forms: the words as the annotation writes them, where that is not what the text has ("in" + "dem" for "im").
        parts_of_speech: per word, or empty.
        governors: per word the word it depends on; None for a root or where nothing is said. Empty: no dependencies.
        relations: per word its relation to the governor.
        predicates, mentions: semantic roles and coreference, where annotated.
        pairs: relations of one's own.
        name: an identifier, such as a treebank's ``sent_id``; ``source`` and ``line``: where it was read.
    """

    text: str
    spans: tuple[Span, ...]
    forms: tuple[str, ...] = ()
    parts_of_speech: tuple[str, ...] = ()
    governors: tuple[int | None, ...] = ()
    relations: tuple[str, ...] = ()
    predicates: tuple[Predicate, ...] = ()
    mentions: tuple[Mention, ...] = ()
    pairs: tuple[WordPair, ...] = ()
    name: str = ""
    source: str = ""
    line: int = 0

    def __post_init__(self) -> None:
        for label, values in (
            ("forms", self.forms),
            ("parts of speech", self.parts_of_speech),
            ("governors", self.governors),
            ("relations", self.relations),
        ):
            if values and len(values) != len(self.spans):
                raise InputError(f"{len(self.spans)} words were given, but {len(values)} {label}.")

    def __len__(self) -> int:
        """Number of words."""
        return len(self.spans)

    @cached_property
    def words(self) -> tuple[str, ...]:
        return self.forms or tuple(self.text[start:stop] for start, stop in self.spans)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Per word, the words that depend on it."""
        found: list[list[int]] = [[] for _ in self.spans]
        for word, governor in enumerate(self.governors):
            if governor is not None:
                found[governor].append(word)
        return tuple(tuple(words) for words in found)

    def spaced(self) -> AnnotatedText:
        """The same with a space between all words, so that no token can belong to two of them."""
        starts = list(accumulate((len(word) + 1 for word in self.words), initial=0))
        spans = tuple((start, start + len(word)) for start, word in zip(starts, self.words, strict=False))
        return replace(self, text=" ".join(self.words), spans=spans)

    def subtree(self, word: int) -> tuple[int, ...]:
        """The word and all that depends on it, ascending."""
        found, waiting = {word}, [word]
        while waiting:
            new = [child for child in self.children[waiting.pop()] if child not in found]
            found.update(new)
            waiting += new
        return tuple(sorted(found))


def words_of_tokens(tokens: Tokens, spans: Sequence[Span], segment: int = 0) -> tuple[int | None, ...]:
    """The annotated word each token belongs to: the one it shares most characters with; None for special tokens.

    A token that covers two words counts for one of them only, so that no weight is counted twice.
    """
    result: list[int | None] = []
    first = 0
    for index, span in enumerate(tokens.spans):
        word: int | None = None
        if span is not None and not tokens.is_special[index] and tokens.segments[index] == segment:
            start, stop = span
            # Spans of tokens never run backwards by more than one token, nor do words: a short walk suffices.
            while first > 0 and spans[first - 1][1] > start:
                first -= 1
            while first < len(spans) and spans[first][1] <= start:
                first += 1
            best = 0
            for candidate in range(first, len(spans)):
                if spans[candidate][0] >= stop:
                    break
                shared = min(stop, spans[candidate][1]) - max(start, spans[candidate][0])
                if shared > best:
                    word, best = candidate, shared
        result.append(word)
    return tuple(result)


def spans_of_words(text: str, words: Sequence[str]) -> list[Span]:
    """Where words lie in a text, one after the other with nothing but white space between them.

    Raises:
        InputError: the text does not consist of these words.
    """
    spans: list[Span] = []
    position = 0
    for number, word in enumerate(words):
        while not text.startswith(word, position) and position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith(word, position):
            raise InputError(
                f"word {number + 1}, {word!r}, does not match the text, which continues with "
                f"{text[position : position + 20]!r}"
            )
        spans.append((position, position + len(word)))
        position += len(word)
    if text[position:].strip():
        raise InputError(f"the text continues after its last word with {text[position : position + 20]!r}")
    return spans
