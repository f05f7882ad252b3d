"""What a page sorts and groups heads by, from its own text: strengths of patterns, names, groups of alike heads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import torch

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.patterns.matrix import names_earned
from attention_analyzer.patterns.measure import Strengths, measure_record
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.weights.reductions import MatchWeight

#: Patterns about repeated tokens name heads only of texts this long: in a shorter one hardly anything repeats.
LONG_ENOUGH_TO_REPEAT = 32
#: Heads whose pictures are closer than this are alike (Jensen-Shannon distance, 0 to 1).
ALIKE = 0.3
#: More heads than this are not grouped: every pair is compared.
MOST_HEADS = 400
ALONE = "like no other"


def pattern_content(record: CapturedAttention) -> dict[str, Any]:
    """Header entries ``patterns`` (strengths by name, one per head) and ``labels`` (names earned in this text)."""
    measured = measure_record(record)
    names = dict.fromkeys(pattern.name for _, found in measured for pattern in found.patterns)
    columns: dict[str, list[float | None]] = {name: [] for name in names}
    labels = []
    for number, (site, found) in enumerate(measured):
        known = {pattern.name: index for index, pattern in enumerate(found.patterns)}
        for name, column in columns.items():
            column += _plain(found.strength[known[name]]) if name in known else [None] * site.heads
        short = record.entries[number].weights.queries < LONG_ENOUGH_TO_REPEAT
        unsure = {pattern.name for pattern in found.patterns if short and _reads_repeats(pattern)}
        for head, earned in enumerate(names_earned(found)):
            labels += [_label(found, known[name], number, head) for name in earned if name not in unsure]
    return {"patterns": columns, "labels": labels, "labels_from": "this text"}


def _reads_repeats(pattern: Pattern) -> bool:
    return any(isinstance(need, MatchWeight) for need in pattern.needs)


def _label(found: Strengths, index: int, site: int, head: int) -> dict[str, Any]:
    control = float(torch.fmax(found.chance, found.position)[index, head])
    return {
        "site": site,
        "head": head,
        "name": found.patterns[index].name,
        "strength": float(f"{float(found.strength[index, head]):.4g}"),
        "control": None if np.isnan(control) else float(f"{control:.4g}"),
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
