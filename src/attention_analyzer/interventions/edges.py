"""Attention edges by name: which queries may no longer look at which keys, in which heads.

::

    <heads>:<queries>><keys>        L2H5:7>3     L2:*>0     decoder.cross.L1H0:3-5>0,last

A second colon says the same as the arrow, which a shell takes for its own unless it is quoted. Positions are numbers,
lists and runs as in :mod:`.selection`, ``last``, or ``*`` for all. A text's positions are shown by
``attn what-if TEXT`` and by ``record.tokens.pieces``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.interventions.selection import Selector, numbers, shortened

#: One position, several, ``"*"`` for all, ``"last"``; the form of a command's text is understood, too.
Positions = int | str | Sequence[int]

#: Positions that a message or a result's name writes out.
_MOST_SHOWN = 50


@dataclass(frozen=True)
class KnockOut:
    """These queries may not look at these keys, in these heads.

    The row renormalizes over the keys that are left, just as if the mask had hidden the others: an attention sink
    keeps its score and takes part in that. A query with no key left gets the zero vector from the head.

    Attributes:
        heads: see :mod:`.selection`.
        queries, keys: positions; negative ones count from the end.
    """

    heads: Selector | tuple[Selector, ...]
    queries: Positions = "*"
    keys: Positions = "*"

    @classmethod
    def of(cls, edge: str | KnockOut) -> KnockOut:
        """Read ``L2H5:7>3``.

        Raises:
            InputError: it has another form.
        """
        if isinstance(edge, cls):
            return edge
        if not isinstance(edge, str):
            raise InputError(f"An edge is a string such as 'L2H5:7>3' or a KnockOut, not {type(edge).__name__}.")
        parts = [part.strip() for part in edge.replace(">", ":").split(":")]
        if len(parts) != 3 or not all(parts):
            raise InputError(
                f"{shortened(edge)} names no edge; write HEADS:QUERIES>KEYS, such as 'L2H5:7>3' or 'L2:*>0' (quoted in "
                "a shell)."
            )
        return cls(*parts)

    def __str__(self) -> str:
        heads = ",".join(map(str, self.heads)) if isinstance(self.heads, tuple) else self.heads
        return f"{heads}:{_shown(self.queries)}>{_shown(self.keys)}"


@dataclass(frozen=True)
class Edges:
    """A knock-out of one head, with positions as flags: every pair of a query and a key of them.

    Attributes:
        queries: bool ``[query]``; ``keys``: bool ``[key]``.
    """

    queries: Tensor
    keys: Tensor

    def removed(self, rows: slice) -> Tensor:
        """bool ``[row, key]``."""
        return self.queries[rows, None] & self.keys


def edges_of(knock_out: KnockOut, queries: int, keys: int) -> Edges:
    """The edges on axes of these sizes.

    Raises:
        SelectionError: a position is outside of them.
    """
    whole = str(knock_out)
    return Edges(_flags(knock_out.queries, queries, "query", whole), _flags(knock_out.keys, keys, "key", whole))


def _flags(positions: Positions, size: int, axis: str, whole: str) -> Tensor:
    flags = torch.zeros(size, dtype=torch.bool)
    if isinstance(positions, str):
        if positions == "*":
            return ~flags
        wanted: Sequence[Any] = [
            number
            for part in positions.split(",")
            for number in ([size - 1] if part.strip() == "last" else numbers(part.strip(), whole, size))
        ]
    else:
        wanted = positions if isinstance(positions, Sequence) else [positions]
    for position in wanted:
        if not isinstance(position, int) or isinstance(position, bool):
            raise InputError(f"A {axis} position is a whole number, not {position!r} ({shortened(whole)}).")
        if not -size <= position < size:
            raise SelectionError(
                f"There is no {axis} {position} ({shortened(whole)}); there are {size}, from 0 to {size - 1}."
            )
        flags[position] = True
    return flags


def _shown(positions: Positions) -> str:
    if isinstance(positions, str) or not isinstance(positions, Sequence):
        return str(positions)
    shown = ",".join(map(str, positions[:_MOST_SHOWN]))
    return f"{shown},…" if len(positions) > _MOST_SHOWN else shown
