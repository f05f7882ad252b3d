"""What a page sorts and groups heads by, from its own text: strengths of patterns, names, groups of alike heads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import torch

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.patterns.in_one_text import Remark, remarks
from attention_analyzer.patterns.measure import measure_record

#: Heads whose pictures are closer than this are alike (Jensen-Shannon distance, 0 to 1).
ALIKE = 0.3
#: More heads than this are not grouped: every pair is compared.
MOST_HEADS = 400
ALONE = "like no other"


def pattern_content(record: CapturedAttention) -> dict[str, Any]:
    """Header entries ``patterns`` (strengths by name, one per head), ``labels`` (names that are certain in this text)
    and ``facts`` (of heads without a name, the share of weight that stands out most).
    """
    measured = measure_record(record)
    names = dict.fromkeys(pattern.name for _, found in measured for pattern in found.patterns)
    columns: dict[str, list[float | None]] = {name: [] for name in names}
    for site, found in measured:
        known = {pattern.name: index for index, pattern in enumerate(found.patterns)}
        for name, column in columns.items():
            column += _plain(found.strength[known[name]]) if name in known else [None] * site.heads
    said = remarks(record)
    labels = [_label(remark) for remark in said if remark.certain]
    facts = [_label(remark) | {"text": remark.text} for remark in said if not remark.certain]
    return {"patterns": columns, "labels": labels, "labels_from": "this text", "facts": facts}


def _label(remark: Remark) -> dict[str, Any]:
    return {
        "site": remark.site,
        "head": remark.head,
        "name": remark.name,
        "strength": float(f"{remark.strength:.4g}"),
        "control": None if np.isnan(remark.control) else float(f"{remark.control:.4g}"),
    }


def _plain(values: torch.Tensor) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.4g}") for value in values.tolist()]


def alike_groups(pictures: Sequence[np.ndarray], places: Sequence[tuple[int, int]]) -> list[str] | None:
    """The name of every head's group of alike heads; heads are compared where their axes show the same tokens.

    Args:
        pictures: of each site, ``[head, query bin, key bin]``; rows sum to at most one.
        places: of each site, what its axes show (numbers of token tables).

    Returns:
        One name per head in the order of the sites; None where there are too many heads, or no two are alike.
    """
    sizes = [len(picture) for picture in pictures]
    if sum(sizes) > MOST_HEADS:
        return None
    starts = np.cumsum([0, *sizes])
    numbered: list[tuple[int, list[int]]] = []
    for place in dict.fromkeys(places):
        sites = [index for index, other in enumerate(places) if other == place]
        heads = [starts[index] + head for index in sites for head in range(sizes[index])]
        distances = picture_distances(np.concatenate([pictures[index] for index in sites]))
        numbered += [(len(group), [heads[member] for member in group]) for group in _linked(distances)]
    groups = [ALONE] * int(starts[-1])
    numbers = count(1)
    for size, members in sorted(numbered, key=lambda found: (-found[0], found[1])):
        name = f"alike {next(numbers)}" if size > 1 else ALONE
        for member in members:
            groups[member] = name
    return groups if any(name != ALONE for name in groups) else None


def picture_distances(pictures: np.ndarray) -> np.ndarray:
    """``[head, head]``: square root of the rows' mean Jensen-Shannon divergence (base 2)."""
    filled = pictures.clip(1e-9).astype(np.float32)
    filled /= filled.sum(-1, keepdims=True)
    entropy = -(filled * np.log2(filled)).sum(-1)
    found = np.zeros((len(filled), len(filled)))
    for head, own in enumerate(filled):
        middle = (own + filled) / 2
        divergence = -(middle * np.log2(middle)).sum(-1) - (entropy[head] + entropy) / 2
        found[head] = divergence.mean(-1)
    return np.sqrt(found.clip(0))


def _linked(distances: np.ndarray) -> list[list[int]]:
    """Average linkage (Sokal & Michener 1958) until the closest two groups are further apart than :data:`ALIKE`."""
    between = distances.copy()
    np.fill_diagonal(between, np.inf)
    left = {head: [head] for head in range(len(between))}
    while len(left) > 1:
        one, two = divmod(int(between.argmin()), len(between))
        if between[one, two] > ALIKE:
            break
        sizes = len(left[one]), len(left[two])
        merged = (sizes[0] * between[one] + sizes[1] * between[two]) / sum(sizes)
        merged[one] = np.inf
        between[one], between[:, one] = merged, merged
        between[two], between[:, two] = np.inf, np.inf
        left[one] = left[one] + left.pop(two)
    return list(left.values())
