"""How far an order of importance holds: tokens are deleted by it, and the model is asked again.

Comprehensiveness and sufficiency are those of ERASER (DeYoung et al. 2020, §4), averaged over the same shares of the
text; the deletion curve goes all the way. Random orders say what any order would give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_analyzer.attribution.covering import CellDeleter
from attention_analyzer.attribution.deletion import Deleter
from attention_analyzer.progress import OnProgress

#: Shares of the text that are deleted, or kept alone (ERASER, §4.2).
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
#: Most points of a deletion curve, both ends included.
MOST_POINTS = 21


@dataclass(frozen=True)
class Faithfulness:
    """What deleting by one order does to the target's measure.

    Attributes:
        comprehensiveness: how far it falls without the most important tokens: higher is better.
        sufficiency: how far it falls with nothing else but them: lower is better.
        area: mean of the deletion curve: lower is better.
        curve: the measure after each number of deletions.
    """

    comprehensiveness: float
    sufficiency: float
    area: float
    curve: tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """One text whose units can be deleted.

    Attributes:
        deleter: runs the variants.
        members: the token positions of each unit that may be deleted; all other tokens always stay.
        tokens: how many tokens the text has.
    """

    deleter: Deleter | CellDeleter
    members: tuple[tuple[int, ...], ...]
    tokens: int

    @property
    def counts(self) -> list[int]:
        """How many units are deleted or kept for :data:`SHARES`; in a short text several are one."""
        size = len(self.members)
        return sorted({min(size, math.ceil(share * size)) for share in SHARES})

    @property
    def steps(self) -> list[int]:
        """How many units are gone at each point of the curve."""
        size = len(self.members)
        return sorted({round(size * point / (MOST_POINTS - 1)) for point in range(MOST_POINTS)})

    def judge(self, orders: Sequence[Sequence[int]], progress: OnProgress | None = None) -> list[Faithfulness]:
        """What deleting by each order does; an order lists units, the most important first."""
        rows = [row for order in orders for row in self._rows(order)]
        # Many orders share a variant: the whole text, the empty one, and short ones by chance.
        different, number = torch.stack(rows).unique(dim=0, return_inverse=True)
        measured = self.deleter.measures(different, progress)[number]
        return [self._told(part) for part in measured.split(len(rows) // len(orders))]

    def _rows(self, order: Sequence[int]) -> list[Tensor]:
        """bool ``[token]`` each: without the first of the order, with them alone, and the curve."""
        size = len(order)
        without = [self._kept(order[count:]) for count in self.counts]
        alone = [self._kept(order[:count]) for count in self.counts]
        return without + alone + [self._kept(order[step:size]) for step in self.steps]

    def _kept(self, units: Sequence[int]) -> Tensor:
        kept = torch.ones(self.tokens, dtype=torch.bool)
        kept[[at for members in self.members for at in members]] = False
        kept[[at for unit in units for at in self.members[unit]]] = True
        return kept

    def _told(self, measured: Tensor) -> Faithfulness:
        counts = len(self.counts)
        without, alone, curve = measured[:counts], measured[counts : 2 * counts], measured[2 * counts :]
        whole = curve[0]  # nothing is gone at the first point
        widths = torch.tensor(self.steps, dtype=torch.double)
        return Faithfulness(
            comprehensiveness=float((whole - without).mean()),
            sufficiency=float((whole - alone).mean()),
            area=float(torch.trapezoid(curve, widths / widths[-1])),
            curve=tuple(curve.tolist()),
        )


def random_orders(size: int, count: int, seed: int) -> list[list[int]]:
    numbers = torch.Generator().manual_seed(seed)
    return [torch.randperm(size, generator=numbers).tolist() for _ in range(count)]
