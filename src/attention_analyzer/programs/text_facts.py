"""What rules and conditions know of a text: kinds of tokens, words, sentences, lines, brackets and quotes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.patterns.token_context import sentence_numbers
from attention_analyzer.programs.function_words import FUNCTION_WORDS
from attention_analyzer.text.tokens import Tokens

#: Kinds of tokens, disjoint; a word is of the kind of its first token, further tokens are continuations.
KINDS = ("special", "punctuation", "number", "function word", "name", "content word", "continuation")
_OPENING, _CLOSING = "([{<«（［｛「", ")]}>»）］｝」"
_QUOTES = "\"'“”‘’"


@dataclass(frozen=True)
class TokenFacts:
    """The tokens of one axis, as far as rules ask about them.

    Attributes:
        pieces: what each token shows; ``words``: the word it belongs to, as text.
        token: the same number for equal tokens, -1 for special ones.
        special, separator: flags; ``segment``, ``line``: numbers.
        word: the number of the word, -1 for none.
    """

    pieces: tuple[str, ...]
    words: tuple[str, ...]
    token: tuple[int, ...]
    special: tuple[bool, ...]
    separator: tuple[bool, ...]
    segment: tuple[int, ...]
    line: tuple[int, ...]
    word: tuple[int, ...]

    @classmethod
    def of(cls, tokens: Tokens) -> TokenFacts:
        names: Sequence[Hashable] = tokens.ids or tokens.pieces
        numbers = _numbered([None if special else name for name, special in zip(names, tokens.is_special, strict=True)])
        word = tuple(-1 if number is None else number for number in tokens.words)
        words = tuple("" if number < 0 else tokens.word_texts[number] for number in word)
        lines, seen = [], 0
        for span, segment, piece in zip(tokens.spans, tokens.segments, tokens.pieces, strict=True):
            if span is not None and segment < len(tokens.texts):
                seen = tokens.texts[segment][: span[1]].count("\n")
            lines.append(seen)
            if span is None and "⏎" in piece:
                seen += 1
        return cls(
            tokens.pieces,
            words,
            numbers,
            tuple(tokens.is_special),
            tuple(tokens.is_separator),
            tuple(tokens.segments),
            tuple(lines),
            word,
        )

    @property
    def size(self) -> int:
        return len(self.pieces)

    def shuffled(self, seed: int) -> TokenFacts:
        """The same tokens with their words in a random order; special tokens stay, pieces stay in their words."""
        groups: dict[int, list[int]] = {}
        for index, (special, word) in enumerate(zip(self.special, self.word, strict=True)):
            if not special:
                groups.setdefault(word if word >= 0 else -2 - index, []).append(index)
        blocks = list(groups.values())
        order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(seed)).tolist()
        moved = iter([index for block in order for index in blocks[block]])
        places = [index if special else next(moved) for index, special in enumerate(self.special)]
        rank = {block: number for number, block in enumerate(order)}
        of_token = {index: rank[number] for number, block in enumerate(blocks) for index in block}

        def pick(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[index] for index in places)

        words = tuple(-1 if self.word[index] < 0 else of_token[index] for index in places)
        return replace(self, pieces=pick(self.pieces), words=pick(self.words), token=pick(self.token), word=words)

    # Numbers for rules, each int64 or bool [token]

    @cached_property
    def kind(self) -> Tensor:
        """Index into :data:`KINDS`."""
        starts = zip(self.word_start.tolist(), self.sentence_start.tolist(), strict=True)
        return torch.tensor([KINDS.index(self._kind(index, *flags)) for index, flags in enumerate(starts)])

    def _kind(self, index: int, starts_word: bool, starts_sentence: bool) -> str:
        word = self.words[index] or self.pieces[index].strip()
        if self.special[index]:
            return "special"
        if not any(character.isalnum() for character in word):
            return "punctuation"
        if not starts_word:
            return "continuation"
        if any(character.isdigit() for character in word):
            return "number"
        if word.lower() in FUNCTION_WORDS:
            return "function word"
        return "name" if word[:1].isupper() and not starts_sentence else "content word"

    @cached_property
    def word_start(self) -> Tensor:
        """Whether a token is the first of its word."""
        before = (None, *self.word[:-1])
        flags = [not special and (word < 0 or word != old) for special, word, old in
                 zip(self.special, self.word, before, strict=True)]  # fmt: skip
        return torch.tensor(flags)

    @cached_property
    def word_label(self) -> Tensor:
        """The same number for equal words, whatever their case; -1 where there is no word."""
        return torch.tensor(_numbered([word.casefold() or None for word in self.words]))

    @cached_property
    def sentence(self) -> Tensor:
        """The number of the sentence, -1 for special tokens."""
        return torch.tensor(sentence_numbers(self.pieces, self.special, self.segment))

    @cached_property
    def sentence_start(self) -> Tensor:
        sentence = self.sentence.tolist()
        return torch.tensor([each >= 0 and each not in sentence[:index] for index, each in enumerate(sentence)])

    @cached_property
    def repeated(self) -> Tensor:
        """Whether the same token stands earlier in the text."""
        return self.nearest_same >= 0

    @cached_property
    def nearest_same(self) -> Tensor:
        """Where the same token stood last; -1 where it did not."""
        last: dict[int, int] = {}
        found = []
        for index, label in enumerate(self.token):
            found.append(last.get(label, -1) if label >= 0 else -1)
            last[label] = index
        return torch.tensor(found)

    @cached_property
    def bracket(self) -> Tensor:
        """The innermost bracket that is open at each token, a closing one's own; -1 outside."""
        stack: list[int] = []
        found = []
        for index, (piece, special) in enumerate(zip(self.pieces, self.special, strict=True)):
            shown = "" if special else piece.strip()
            inside = stack[-1] if stack else -1
            for character in shown:
                if character in _OPENING:
                    stack.append(index)
                elif character in _CLOSING and stack:
                    stack.pop()
            found.append(inside)
        return torch.tensor(found)

    @cached_property
    def closes(self) -> Tensor:
        """Whether a token is a closing bracket."""
        return torch.tensor([any(c in _CLOSING for c in piece) and not special
                             for piece, special in zip(self.pieces, self.special, strict=True)])  # fmt: skip

    @cached_property
    def quote(self) -> Tensor:
        """The quotation mark that is open at each token, a closing one's own; -1 outside. An apostrophe is none."""
        opened, found = -1, []
        for index, piece in enumerate(self.pieces):
            is_quote = piece.strip() in set(_QUOTES) and (not self.words[index] or self.words[index] in _QUOTES)
            found.append(opened)
            if is_quote and not self.special[index]:
                opened = index if opened < 0 else -1
        return torch.tensor(found)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The plain attributes as tensors, by name."""
        names = ("token", "special", "separator", "segment", "line", "word")
        return {name: torch.tensor(getattr(self, name)) for name in names}


def _numbered(names: Sequence[Hashable | None]) -> tuple[int, ...]:
    """Equal numbers for equal names, -1 for None."""
    known: dict[Hashable, int] = {}
    return tuple(-1 if name is None else known.setdefault(name, len(known)) for name in names)


@dataclass(frozen=True)
class RuleText:
    """The two axes of an attention layer in one text.

    Attributes:
        queries, keys: their tokens.
        diagonal: query ``i`` is key ``i + diagonal``; None where queries are other tokens than the keys.
    """

    queries: TokenFacts
    keys: TokenFacts
    diagonal: int | None
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, queries: Tokens, keys: Tokens, diagonal: int | None) -> RuleText:
        of_keys = TokenFacts.of(keys)
        same = diagonal == 0 and queries.pieces == keys.pieces
        return cls(of_keys if same else TokenFacts.of(queries), of_keys, diagonal)

    def shuffled(self, seed: int) -> RuleText:
        """The axes with their words in another order."""
        keys = self.keys.shuffled(seed)
        return RuleText(keys if self.queries is self.keys else self.queries.shuffled(seed), keys, self.diagonal)

    @cached_property
    def position(self) -> Tensor | None:
        """int64 ``[query]``: each query's own place among the keys; None where it has none."""
        return None if self.diagonal is None else torch.arange(self.queries.size) + self.diagonal

    def of_query(self, numbers: Tensor) -> Tensor | None:
        """What a per-key number is for each query's own token."""
        return None if self.position is None else numbers[self.position]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made when it is first asked for."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]
