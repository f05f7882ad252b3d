"""Where in a model an attention module sits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["self", "cross"]


@dataclass(frozen=True, order=True)
class Site:
    """One attention module's place.

    Attributes:
        stack: the tower it belongs to: "encoder", "decoder", "vision", "audio", ….
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
    def name(self) -> str:
        """Unique within a record, such as ``encoder.self.3``."""
        return f"{self.stack}.{self.kind}.{self.layer}"

    def __str__(self) -> str:
        return self.name
