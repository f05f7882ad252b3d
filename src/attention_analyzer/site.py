"""Where in a model an attention module sits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["self", "cross"]


def tower_of(stack: str) -> str:
    """The tower of a stack, whose name may end in the number of the time that its modules attend ("encoder-2")."""
    return stack.partition("-")[0]


@dataclass(frozen=True, order=True)
class Site:
    """One attention module's place.

    Attributes:
        stack: the tower it belongs to: "encoder", "decoder", "vision", "audio", …; where a module attends more than
            once in one forward, and not in chunks of one attention, "encoder-2" is what it does the second time.
        kind: "self", or "cross" where keys come from another sequence (encoder–decoder).
        layer: zero-based; the model's own number where its module names tell, else the order of the calls.
        heads: number of query heads.
        module: the module's path inside the model.
    """

    stack: str
    kind: Kind
    layer: int
    heads: int
    module: str = ""

    @property
    def tower(self) -> str:
        """The stack without the number of the time."""
        return tower_of(self.stack)

    @property
    def name(self) -> str:
        """Unique within a record, such as ``encoder.self.3``."""
        return f"{self.stack}.{self.kind}.{self.layer}"

    def __str__(self) -> str:
        return self.name
