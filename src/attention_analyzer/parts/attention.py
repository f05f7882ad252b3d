"""The attention between parts, as a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from attention_analyzer.errors import SelectionError
from attention_analyzer.result import Result
from attention_analyzer.site import Site, from_end, is_layer
from attention_analyzer.text.parts import Parts


@dataclass(frozen=True, repr=False)
class PartAttention(Result):
    """How much the tokens of each part attend to each part.

    All arrays are ``[head, query part, key part]``; a value is the mean over the query tokens of the part, so that a
    row sums to one (or to what an attention sink of the model's own leaves).

    Attributes:
        queries, keys: the parts.
        heads: the site and number of each head.
        weights: the attention weight.
        without_sinks: the same without special tokens and the first token as keys, each row divided by what is left.
        by_size: what ``weights`` would be if each query attended equally to all keys that it sees.
        by_distance: what it would be if only the distance counted: the head's mean weight at each distance. NaN
            between different texts.
        by_size_without_sinks, by_distance_without_sinks: the same for ``without_sinks``.
    """

    queries: Parts
    keys: Parts
    heads: tuple[tuple[Site, int], ...]
    weights: np.ndarray = field(compare=False)
    without_sinks: np.ndarray = field(compare=False)
    by_size: np.ndarray = field(compare=False)
    by_size_without_sinks: np.ndarray = field(compare=False)
    by_distance: np.ndarray = field(compare=False)
    by_distance_without_sinks: np.ndarray = field(compare=False)
    model_name: str = ""

    views: ClassVar[tuple[str, ...]] = ()

    def facts(self) -> tuple[str, ...]:
        above = self.without_sinks - self.chance
        above = np.where(self._own_part, -np.inf, np.nan_to_num(above, nan=-np.inf))
        head, query, key = (int(n) for n in np.unravel_index(int(above.argmax()), above.shape))
        most = (
            f"most above chance: {self._name(head)} from {self.queries.names[query]} to {self.keys.names[key]}, "
            f"{self.without_sinks[head, query, key]:.2f} against {self.chance[head, query, key]:.2f} without sinks"
        )
        sizes = f"{len(self.queries)} × {len(self.keys)} parts ({self.queries.level}), {len(self.heads)} heads"
        return (sizes, most) if np.isfinite(above.max()) else (sizes,)

    @property
    def chance(self) -> np.ndarray:
        """The stricter chance: by distance, or by size where distances have no meaning; without sinks."""
        return np.where(
            np.isnan(self.by_distance_without_sinks), self.by_size_without_sinks, self.by_distance_without_sinks
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per head and pair of parts.

        Columns ``stack, kind, layer, head, query, key``, then ``weight, by_size, by_distance`` and the same three
        without sinks. Pairs of which no query sees a key are left out.
        """
        number, query, key = (axis.ravel() for axis in np.indices(self.weights.shape))
        sites = [site for site, _ in self.heads]
        columns: dict[str, Any] = {
            "stack": np.array([site.stack for site in sites])[number],
            "kind": np.array([site.kind for site in sites])[number],
            "layer": np.array([site.layer for site in sites])[number],
            "head": np.array([head for _, head in self.heads])[number],
            "query": np.array(self.queries.names)[query],
            "key": np.array(self.keys.names)[key],
            "weight": self.weights.ravel(),
            "by_size": self.by_size.ravel(),
            "by_distance": self.by_distance.ravel(),
            "weight_without_sinks": self.without_sinks.ravel(),
            "by_size_without_sinks": self.by_size_without_sinks.ravel(),
            "by_distance_without_sinks": self.by_distance_without_sinks.ravel(),
        }
        frame = pd.DataFrame(columns)
        return frame[self.by_size.ravel() > 0].reset_index(drop=True)

    def matrix(self, layer: int | None = None, head: int | None = None, *, values: str = "weights") -> pd.DataFrame:
        """A table of query parts by key parts: of one head, or the mean over the heads of a layer or of all.

        Args:
            values: the name of one of the arrays, or "above_chance": without sinks, minus :attr:`chance`.

        Raises:
            SelectionError: there is no such head or array.
        """
        arrays = (
            "weights",
            "without_sinks",
            "by_size",
            "by_distance",
            "by_size_without_sinks",
            "by_distance_without_sinks",
        )
        if values == "above_chance":
            array = self.without_sinks - self.chance
        elif values in arrays:
            array = getattr(self, values)
        else:
            raise SelectionError(f"There are no values {values!r}; there are {', '.join(arrays)} and above_chance.")
        sites = [site for site, _ in self.heads]
        chosen = [
            number
            for number, (site, of) in enumerate(self.heads)
            if (layer is None or is_layer(site, layer, sites)) and (head is None or of == from_end(head, site.heads))
        ]
        if not chosen:
            raise SelectionError(
                f"There is no head {head} in layer {layer}; the heads are {self._name(0)} to {self._name(-1)}."
            )
        return pd.DataFrame(
            array[chosen].mean(0), index=pd.Index(self.queries.names, name="query"), columns=list(self.keys.names)
        )

    @property
    def _own_part(self) -> np.ndarray:
        same = [[query == key for key in self.keys.names] for query in self.queries.names]
        return np.array(same) if self.queries is self.keys else np.zeros_like(same)

    def _name(self, number: int) -> str:
        site, head = self.heads[number]
        return f"L{site.layer}H{head}"
