"""Directions that tell chosen pairs from others, as a result that prints, has a table and is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.result import Basis, Result


@dataclass(frozen=True, repr=False)
class ContrastDirections(Result):
    """Directions of a head's queries that make chosen pairs score higher than others; all figures of held-out texts.

    Attributes:
        table: one row per direction, and one for all together: ``direction``; ``strength``, its part of the score
            difference on the texts that it was found on; ``gap``, the fraction of the difference that goes when it is
            removed from the queries; ``weight``, the mean weight of chosen pairs as it is, ``removed``, without the
            direction, and ``random``, without a random one; ``low, high``, the 95 % interval over texts of how much
            more weight is lost than with a random one.
        directions: unit vectors ``[direction, channel]`` of the head's queries as they meet the keys.
        spectrum: the strength of all directions; they sum to the score difference.
        gap: how much higher chosen pairs score than the other keys of their queries.
        random_drops: what each random direction takes of the weight.
        texts: how many the directions were found on, and how many are held out.
    """

    table: pd.DataFrame = field(compare=False)
    directions: NDArray[np.float64] = field(compare=False)
    spectrum: NDArray[np.float64] = field(compare=False)
    gap: float
    random_drops: tuple[float, ...]
    head: str
    texts: tuple[int, int]
    model_name: str = ""

    def basis(self) -> Basis:
        return Basis(self.texts[1], "held-out text")

    def facts(self) -> tuple[str, ...]:
        first = self.table.iloc[0]
        without = f"without direction 1: {first['removed']:.1%}; without a random one: {first['random']:.1%}"
        weight = f"have weight {first['weight']:.1%} ({self.texts[1]} held-out texts)"
        return (
            f"{self.head}: chosen pairs score {self.gap:+.2f} above others and {weight}",
            f"{without} (lost beyond random [{first['low']:+.3f}, {first['high']:+.3f}])",
            f"{len(self.directions)} directions have {self.table['gap'].iloc[-1]:.0%} of the score difference",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`table`."""
        return self.table
