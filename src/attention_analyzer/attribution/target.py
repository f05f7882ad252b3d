"""What was predicted: the one number whose cause is looked for, as a function of a model's outputs.

Each target has two faces. Its *value* is what gradients are taken of (a logit, which does not level off where a
probability does). Its *measure* is what a person reads, and what falls when tokens are deleted (a probability; for a
representation, its cosine with that of the whole text).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot


@dataclass(frozen=True)
class Layout:
    """Where the text's tokens stand in a batch of its variants.

    Attributes:
        valid: bool ``[row, position]``: positions that are no padding and not hidden.
        kept: bool ``[row, token]``: which of the text's tokens are left.
        compact: whether those that are not have been taken out, so that later ones moved up.
    """

    valid: Tensor
    kept: Tensor
    compact: bool = False

    @classmethod
    def whole(cls, rows: int, tokens: int, device: torch.device) -> Layout:
        """The text as it is, some times over."""
        everything = torch.ones(rows, tokens, dtype=torch.bool, device=device)
        return cls(everything, everything)

    def place(self, token: int) -> Tensor:
        """int64 ``[row]``: where a token of the text stands, or, if it is gone, the one before it."""
        if not self.compact:
            return torch.full((len(self.kept),), token, device=self.kept.device)
        before = self.kept[:, : token + 1].sum(1) - 1
        return before.clamp(min=0)


@dataclass(frozen=True)
class Target(ABC):
    """One number of a model's outputs.

    Attributes:
        label: what was predicted, in words.
    """

    #: What :meth:`values` and :meth:`measures` give.
    unit: ClassVar[str] = "logit"
    measured: ClassVar[str] = "probability"

    label: str

    @abstractmethod
    def values(self, outputs: Any, layout: Layout) -> Tensor:
        """``[row]``, differentiable."""

    @abstractmethod
    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        """``[row]``."""

    def start(self, queries: int) -> Tensor | None:
        """``[query]`` of the last stack: where the prediction is read, as shares; None where only gradients tell."""
        return None

    @property
    def needs_positions(self) -> bool:
        """Whether later tokens must stay where they are, so that no token can be taken out."""
        return False

    @property
    def protected(self) -> int | None:
        """A token that cannot be deleted without deleting the question."""
        return None


def _entry_of(logits: Tensor, entry: int, against: int | None) -> Tensor:
    """``[row]``: a logit, or its difference from another one."""
    return logits[:, entry] if against is None else logits[:, entry] - logits[:, against]


@dataclass(frozen=True)
class VocabularyTarget(Target):
    """One entry of the logits at one position: a token of the vocabulary, or a tag.

    Attributes:
        at: the position whose logits are read, on the last stack's axis; ``entry``: which logit.
        moves: whether the position is one of the text's own tokens (not of an encoder–decoder's target).
        fixed: whether the token at the position is part of the question (a mask) and cannot be deleted.
        against: the entry that it is contrasted with: the value is the difference of the two logits, and the measure
            the probability of the one if it is one of the two.
    """

    at: int
    entry: int
    moves: bool = True
    fixed: bool = False
    against: int | None = None

    def _logits(self, outputs: Any, layout: Layout) -> Tensor:
        logits: Tensor = outputs.logits
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, layout.place(self.at).to(logits.device) if self.moves else self.at]

    def values(self, outputs: Any, layout: Layout) -> Tensor:
        return _entry_of(self._logits(outputs, layout), self.entry, self.against)

    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        logits = self._logits(outputs, layout).float()
        if self.against is not None:
            return _entry_of(logits, self.entry, self.against).sigmoid()
        return logits.softmax(-1)[:, self.entry]

    def start(self, queries: int) -> Tensor:
        return one_hot(torch.tensor(self.at), queries).float()

    @property
    def protected(self) -> int | None:
        return self.at if self.fixed else None


@dataclass(frozen=True)
class ClassTarget(Target):
    """One class of a text classifier.

    Attributes:
        entry: which logit.
        exclusive: whether classes exclude each other, so that probabilities sum to one over them.
        against: the class that it is contrasted with, as in :class:`VocabularyTarget`.
    """

    entry: int
    exclusive: bool = True
    against: int | None = None

    def values(self, outputs: Any, layout: Layout) -> Tensor:
        return _entry_of(outputs.logits, self.entry, self.against)

    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        logits = outputs.logits.float()
        if self.against is not None:
            return _entry_of(logits, self.entry, self.against).sigmoid()
        return (logits.softmax(-1) if self.exclusive else logits.sigmoid())[:, self.entry]


@dataclass(frozen=True)
class NumberTarget(Target):
    """The one output of a regression."""

    measured: ClassVar[str] = "output"

    def values(self, outputs: Any, layout: Layout) -> Tensor:
        return outputs.logits[:, 0]

    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        return outputs.logits[:, 0].float()


@dataclass(frozen=True)
class SequenceTarget(Target):
    """A whole text: the sum of the log-probabilities of its tokens, each given those before it.

    Attributes:
        places: the positions whose logits predict a token; ``entries``: which tokens.
        moves: whether the positions are the text's own.
    """

    unit: ClassVar[str] = "log-probability"
    measured: ClassVar[str] = "probability of a token (geometric mean)"

    places: tuple[int, ...]
    entries: tuple[int, ...]
    moves: bool = True

    def _each(self, outputs: Any) -> Tensor:
        logits = outputs.logits[:, list(self.places)].log_softmax(-1)
        entries = torch.tensor(self.entries, device=logits.device).expand(logits.shape[0], -1)
        return logits.gather(-1, entries[..., None])[..., 0]

    def values(self, outputs: Any, layout: Layout) -> Tensor:
        return self._each(outputs).sum(-1)

    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        return self._each(outputs).float().mean(-1).exp()

    def start(self, queries: int) -> Tensor:
        start = torch.zeros(queries)
        start[list(self.places)] = 1 / len(self.places)
        return start

    @property
    def needs_positions(self) -> bool:
        return self.moves


@dataclass(frozen=True)
class RepresentationTarget(Target):
    """What the model makes of the text, or of one token: its length along the direction it has for the whole text.

    Attributes:
        direction: ``[channel]`` of length one: the representation of the whole text.
        at: the token; None for the mean of all tokens (mean pooling, special tokens included).
    """

    unit: ClassVar[str] = "length along its direction"
    measured: ClassVar[str] = "cosine with the whole text's"

    direction: Tensor
    at: int | None = None

    def values(self, outputs: Any, layout: Layout) -> Tensor:
        return represented(outputs, layout, self.at) @ self.direction

    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        return cosine_similarity(represented(outputs, layout, self.at).float(), self.direction.float()[None])

    def start(self, queries: int) -> Tensor:
        if self.at is None:
            return torch.full((queries,), 1 / queries)
        return one_hot(torch.tensor(self.at), queries).float()

    @property
    def protected(self) -> int | None:
        return self.at


def represented(outputs: Any, layout: Layout, at: int | None) -> Tensor:
    """``[row, channel]``: the last hidden state of a token, or the mean over all that are no padding."""
    hidden = outputs.last_hidden_state
    if at is not None:
        return hidden[torch.arange(len(hidden), device=hidden.device), layout.place(at).to(hidden.device)]
    valid = layout.valid.to(hidden)[..., None]
    return (hidden * valid).sum(1) / valid.sum(1).clamp(min=1)
