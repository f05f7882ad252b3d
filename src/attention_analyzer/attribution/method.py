"""What an attribution method is: one number per token, made from one forward (and backward) of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from attention_analyzer.attribution.context import Question


@dataclass(frozen=True)
class RawAttribution:
    """What a method found.

    Attributes:
        raw: ``[token]`` over the main text (an encoder–decoder's source), in the method's own unit; may be negative
            where the method is signed.
        notes: what else a reader should know, by name.
    """

    raw: Tensor
    notes: dict[str, Any] = field(default_factory=dict)


class Attribution(ABC):
    """One way to say how important each token is.

    The docstring of a subclass is its definition, with its source.
    """

    name: ClassVar[str]
    #: What a reader is told the numbers are.
    title: ClassVar[str]
    #: Whether the numbers follow from what was predicted; where not, they describe the attention and no more.
    follows_target: ClassVar[bool] = False
    #: Whether a number below zero means that a token speaks against the target.
    signed: ClassVar[bool] = False
    #: Whether cost is so high on long texts that the method has a limit of its own.
    limited: ClassVar[bool] = False

    @abstractmethod
    def find(self, question: Question) -> RawAttribution:
        """The raw number of every token.

        Raises:
            UnsupportedModelError: the method needs something that this model does not show.
        """
