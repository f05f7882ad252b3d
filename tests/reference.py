"""Every metric the slow and obvious way: float64 loops over the full matrix of one head.

Nothing here is shared with the package; fast code is held against it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

NAN = float("nan")


@dataclass(frozen=True)
class Head:
    """One head of one text.

    Attributes:
        weights: ``[query, key]``.
        sees: bool ``[query, key]``, which keys a query may look at.
        counts: bool ``[query]``, queries that count (padding does not).
        real: bool ``[key]``, keys that are not padding.
        diagonal: query ``i`` is key ``i + diagonal``; None for cross-attention.
        groups: bool ``[key]`` by name.
    """

    weights: np.ndarray
    sees: np.ndarray
    counts: np.ndarray
    real: np.ndarray
    diagonal: int | None = 0
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """Queries that count and see something."""
        return [i for i in range(len(self.counts)) if self.counts[i] and self.sees[i].any()]

    @property
    def keys(self) -> range:
        return range(self.weights.shape[1])


def metrics(head: Head) -> dict[str, float]:
    """All metrics of a head, by name."""
    row_entropy = {i: entropy(head.weights[i]) for i in head.rows}
    seen = [(i, j) for i in head.rows for j in head.keys if head.sees[i, j]]
    cells = [float(head.weights[i, j]) for i, j in seen]
    named = {
        "mean_weight": sum(cells) / len(cells) if cells else NAN,
        "max_weight": max(cells, default=-math.inf),
        "min_weight": min(cells, default=math.inf),
        "entropy": mean(row_entropy.values()),
        "normalized_entropy": mean(
            row_entropy[i] / math.log(head.sees[i].sum()) for i in head.rows if head.sees[i].sum() > 1
        ),
        "effective_keys": mean(math.exp(value) for value in row_entropy.values()),
        "confidence": mean(max(head.weights[i]) for i in head.rows),
        "distance": distance(head),
        "self_weight": at_offset(head, 0),
        "other_weight": other_weight(head),
        "previous_weight": at_offset(head, -1),
        "next_weight": at_offset(head, 1),
        "local_weight": local_weight(head, 2),
        "received_concentration": received_concentration(head),
    }
    for group in head.groups:
        named[f"{group}_weight"] = mean(
            sum(head.weights[i, j] for j in head.keys if head.groups[group][j]) for i in head.rows
        )
    return {name: float(value) for name, value in named.items()}


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else NAN


def entropy(row: np.ndarray) -> float:
    return -sum(float(a) * math.log(a) for a in row if a > 0)


def received(head: Head) -> list[float]:
    return [sum(float(head.weights[i, j]) for i in head.rows) for j in head.keys]


def received_concentration(head: Head) -> float:
    total = received(head)
    if head.real.sum() < 2 or sum(total) == 0:
        return NAN
    shares = np.array(total) / sum(total)
    return 1 - entropy(shares) / math.log(head.real.sum())


def distance(head: Head) -> float:
    if head.diagonal is None:
        return NAN
    found = []
    for i in head.rows:
        total = sum(float(head.weights[i, j]) for j in head.keys)
        found.append(sum(head.weights[i, j] * abs(i + head.diagonal - j) for j in head.keys) / total)
    return mean(found)


def at_offset(head: Head, offset: int) -> float:
    if head.diagonal is None:
        return NAN
    pairs = [(i, i + head.diagonal + offset) for i in head.rows]
    return mean(head.weights[i, j] for i, j in pairs if j in head.keys and head.real[j])


def other_weight(head: Head) -> float:
    if head.diagonal is None:
        return NAN
    found = []
    for i in head.rows:
        own = i + head.diagonal
        if own in head.keys and head.real[own]:
            found.append(sum(float(head.weights[i, j]) for j in head.keys if j != own))
    return mean(found)


def local_weight(head: Head, width: int) -> float:
    if head.diagonal is None:
        return NAN
    return mean(
        sum(float(head.weights[i, j]) for j in head.keys if abs(i + head.diagonal - j) <= width) for i in head.rows
    )


def match_weight(head: Head, of_queries: list[int], of_keys: list[int], among: str) -> list[float]:
    """Per query, the weight on the visible keys that bear its label; NaN where there is none."""
    found = []
    for i, label in enumerate(of_queries):
        own = None if head.diagonal is None else i + head.diagonal
        keys = [j for j in head.keys if head.sees[i, j] and of_keys[j] == label >= 0]
        if own is not None and among == "earlier":
            keys = [j for j in keys if j < own]
        elif own is not None and among == "other":
            keys = [j for j in keys if j != own]
        found.append(sum(float(head.weights[i, j]) for j in keys) if keys else NAN)
    return found
