"""A sparse linear model: the answer's log-probability from the parts that are kept (Cohen-Wang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.errors import MissingDependencyError

Floats = NDArray[np.float64]
#: Refits on removals drawn anew, for intervals.
DRAWS = 40
#: Penalty, as a share of the largest one that would still leave a part in.
_PENALTY = 0.02


@dataclass(frozen=True)
class Surrogate:
    """The fit.

    Attributes:
        scores: nats that each part adds, ``[part]``.
        low, high: 95 % intervals over removals drawn anew.
    """

    scores: Floats
    low: Floats
    high: Floats


def fit_surrogate(kept: NDArray[np.bool_], values: Floats, seed: int = 0) -> Surrogate:
    """Fit a lasso on removals.

    Args:
        kept: ``[removal, part]``, which parts were in the prompt.
        values: the answer's log-probability, ``[removal]``.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    scores = _lasso(kept, values)
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        rows = generator.integers(0, len(values), len(values))
        draws.append(_lasso(kept[rows], values[rows]))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return Surrogate(scores, low, high)


def _lasso(kept: NDArray[np.bool_], values: Floats) -> Floats:
    try:
        from sklearn.linear_model import Lasso
    except ImportError:
        raise MissingDependencyError("scikit-learn", "cluster", "The method 'surrogate'") from None
    features = kept.astype(np.float64)
    centered = features - features.mean(0)
    largest = float(np.abs(centered.T @ (values - values.mean())).max()) / len(values)
    if largest <= 0:
        return np.zeros(kept.shape[1])
    fitted = Lasso(alpha=_PENALTY * largest, max_iter=10_000).fit(features, values)
    return np.asarray(fitted.coef_, dtype=np.float64)
