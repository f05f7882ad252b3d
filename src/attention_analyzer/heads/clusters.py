"""Groups of heads by their distances, how stable they are when texts are drawn anew, and a map of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attention_analyzer.errors import MissingDependencyError
from attention_analyzer.heads.distance import distance_of
from attention_analyzer.stats import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: More clusters than this are not looked for.
_MOST_CLUSTERS = 12
_RESAMPLES = 50


@dataclass(frozen=True)
class Clusters:
    """Heads in clusters.

    Attributes:
        labels: per head, numbered by size.
        silhouette: mean silhouette in [-1, 1]; the number of clusters is the one that makes it largest.
        stability: mean adjusted Rand index between these clusters and those of texts drawn anew (1: always the same,
            0: no better than chance).
        by_head: per head the mean Jaccard index of its cluster here and there (Hennig 2007).
    """

    labels: NDArray[np.int64]
    silhouette: float
    stability: float
    by_head: Floats


def clusters_of(by_text: Floats, count: int | None = None, seed: int = 0) -> Clusters:
    """Clusters of mean distances by Ward's (1963) method, and their stability over texts.

    Args:
        by_text: divergences ``[text, head, head]`` in nats.
        count: how many clusters; by default as many as give the largest silhouette.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import adjusted_rand_score, silhouette_score
    except ImportError:
        raise MissingDependencyError("scikit-learn", "cluster", "Clustering heads") from None
    distances = distance_of(by_text.mean(0))
    heads = len(distances)
    candidates = range(2, min(_MOST_CLUSTERS, heads - 1) + 1) if count is None else (count,)
    tried = [_linked(distances, number) for number in candidates]
    scores = [float(silhouette_score(distances, labels, metric="precomputed")) for labels in tried]
    best = int(np.argmax(scores))
    labels = _by_size(tried[best])
    draws = np.random.default_rng(seed)
    agreements, overlaps = [], np.zeros(heads)
    for _ in range(_RESAMPLES):
        drawn = by_text[draws.integers(len(by_text), size=len(by_text))]
        again = _linked(distance_of(drawn.mean(0)), candidates[best])
        agreements.append(adjusted_rand_score(labels, again))
        here, there = labels[:, None] == labels, again[:, None] == again
        overlaps += (here & there).sum(1) / (here | there).sum(1)
    return Clusters(labels, scores[best], float(np.mean(agreements)), overlaps / _RESAMPLES)


def tight_groups(distances: Floats, within: float) -> list[list[int]]:
    """Groups of at least two heads that are all within a distance of each other (complete linkage)."""
    from sklearn.cluster import AgglomerativeClustering

    linked = AgglomerativeClustering(
        n_clusters=None, distance_threshold=within, metric="precomputed", linkage="complete"
    )
    labels = linked.fit_predict(distances)
    groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    return [group for group in groups if len(group) > 1]


def map_of(distances: Floats) -> tuple[Floats, float]:
    """Classical multidimensional scaling (Torgerson 1952): ``[head, 2]`` and the share of all spread that it shows."""
    places = _embedded(distances)
    spread = (places**2).sum(0)
    total = float(spread.sum())
    return places[:, :2], float(spread[:2].sum()) / total if total else 1.0


def _embedded(distances: Floats) -> Floats:
    """Points ``[head, axis]`` with these distances, the widest axes first; they exist, see :mod:`.distance`."""
    squared = distances**2
    centered = squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-centered / 2)
    places = vectors[:, ::-1] * np.sqrt(values[::-1].clip(min=0))
    # Signs are arbitrary; the same heads give the same points.
    return places * np.where(places[np.abs(places).argmax(0), range(len(places))] < 0, -1, 1)


def _linked(distances: Floats, count: int) -> NDArray[np.int64]:
    from sklearn.cluster import AgglomerativeClustering

    labels: NDArray[np.int64] = AgglomerativeClustering(n_clusters=count).fit_predict(_embedded(distances))
    return labels


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters, numbered from the largest; of equals the one that comes first."""
    names, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    numbers = np.empty(len(names), dtype=np.int64)
    numbers[order] = range(len(names))
    return numbers[np.searchsorted(names, labels)]
