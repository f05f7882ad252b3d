"""Whether a method's scores hold on this very text: what removing its best parts does, and how its sums predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.stats import rank_correlation

Floats = NDArray[np.float64]
_RANDOM_ORDERS = 200


@dataclass(frozen=True)
class Judgment:
    """How one method did.

    Attributes:
        lds: linear datamodeling score: rank correlation between the sum of the scores of the parts that are kept and
            the answer's log-probability, over removals that no method has seen. NaN where it does not vary.
        random_lds: what 95 % of random orders of the same scores do not exceed.
        drop: nats that the answer loses without the method's best parts, and ``random_drop`` without as many others,
            on average.
    """

    lds: float
    random_lds: float
    drop: float
    random_drop: float

    @property
    def holds(self) -> bool:
        """Whether it is better than random parts on both counts."""
        return bool(self.lds >= self.random_lds and self.lds > 0 and self.drop > self.random_drop)


def judge(
    scores: Floats, kept: NDArray[np.bool_], values: Floats, drop: float, random_drop: float, seed: int = 0
) -> Judgment:
    """Judge scores ``[part]`` on removals: ``kept [removal, part]`` and ``values [removal]``."""
    lds = rank_correlation(kept @ scores, values)
    generator = np.random.default_rng(seed)
    orders = [rank_correlation(kept @ generator.permutation(scores), values) for _ in range(_RANDOM_ORDERS)]
    finite = [value for value in orders if not np.isnan(value)]
    random_lds = float(np.quantile(finite, 0.95)) if finite else float("nan")
    return Judgment(lds, random_lds, drop, random_drop)
