"""A circuit, as a result that prints, has tables and is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from attention_analyzer.result import Basis, Result


@dataclass(frozen=True, repr=False)
class Circuit(Result):
    """A set of heads that does what the model does on pairs of texts. All fractions are of held-out pairs.

    Attributes:
        heads: one row per head of the circuit: ``component, stack, kind, layer, head``; ``lost``, the faithfulness that
            the circuit loses without it (minimality), with the 95 % interval over pairs ``low, high``.
        edges: what earlier heads of the circuit give later ones: ``sender, receiver, input`` and ``lost``, the fraction
            of the metric that is lost if the sender is corrupted on this path alone.
        faithfulness: of the circuit: 0 as without heads, 1 as with all; ``interval``: 95 %, by drawing pairs.
        found_faithfulness: the same on the pairs that the circuit was found on.
        rest: faithfulness of all other heads together (completeness: near 0 if nothing is missing), with its interval.
        random: faithfulness of random sets of as many heads.
        all_heads: how many heads the model has; ``pairs``: how many are held out.
        clean, without: the metric with all heads, and with none, in its own unit.
    """

    heads: pd.DataFrame = field(compare=False)
    edges: pd.DataFrame = field(compare=False)
    faithfulness: float
    interval: tuple[float, float]
    found_faithfulness: float
    rest: float
    rest_interval: tuple[float, float]
    random: tuple[float, ...]
    all_heads: int
    pairs: int
    clean: float
    without: float
    model_name: str = ""

    @property
    def share(self) -> float:
        """The circuit's fraction of all heads."""
        return len(self.heads) / self.all_heads

    def basis(self) -> Basis:
        return Basis(self.pairs, "pair")

    def facts(self) -> tuple[str, ...]:
        low, high = self.interval
        chance = f"; random sets: {np.mean(self.random):.2f}, at most {max(self.random):.2f}" if self.random else ""
        return (
            f"{len(self.heads)} of {self.all_heads} heads ({self.share:.0%}): {', '.join(self.heads['component'])}",
            f"faithfulness {self.faithfulness:.2f} [{low:.2f}, {high:.2f}] on {self.pairs} held-out pairs{chance}",
            f"all other heads together: {self.rest:.2f} [{self.rest_interval[0]:.2f}, {self.rest_interval[1]:.2f}]",
        )

    def to_frame(self) -> pd.DataFrame:
        """:attr:`heads`."""
        return self.heads
