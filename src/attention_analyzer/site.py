"""Where in a model an attention module sits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

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


def from_end(number: int, count: int) -> int:
    """A number of ``count`` things, of which a negative one counts from the end; -1 if there is no such thing."""
    found = number + count if number < 0 else number
    return found if 0 <= found < count else -1


def is_layer(site: Site, layer: int, sites: Iterable[Site]) -> bool:
    """Whether the site is of this layer; a negative one counts from the end of the site's own stack and kind."""
    last = max(each.layer for each in sites if (each.stack, each.kind) == (site.stack, site.kind))
    return site.layer == from_end(layer, last + 1)


def head_rows(table: pd.DataFrame, layer: int, head: int | None = None) -> pd.DataFrame:
    """The rows of a layer, or of one head, of a table ``stack, kind, layer, head, …``; negative numbers count from the
    end of their stack and kind.
    """
    if table.empty:
        return table
    count = table.groupby(["stack", "kind"], sort=False)[["layer", "head"]].transform("max") + 1
    chosen = table["layer"] == (layer + count["layer"] if layer < 0 else layer)
    if head is not None:
        chosen &= table["head"] == (head + count["head"] if head < 0 else head)
    return table[chosen]
