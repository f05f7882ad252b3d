"""Texts of a head's whole distribution: where its program explains most, middling and least; not the best ones only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.recording import record_texts
from attention_analyzer.site import Site
from attention_analyzer.stats import Floats
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.text.visible import visible

#: Tenths of the texts, by how much of the head's weight its program explains.
DECILES = 10
PARTS = ("top", "middle", "bottom")
#: Examples of each part; tokens and links that are shown of one.
PER_PART, MOST_TOKENS, MOST_LINKS = 3, 64, 8
#: Texts that examples are taken from, so that each is run once.
POOL = 200


def deciles_of(explained: Floats) -> list[float]:
    """The mean of each tenth of the texts, ascending."""
    known = np.sort(explained[~np.isnan(explained)])
    return [round(float(part.mean()), 4) for part in np.array_split(known, DECILES) if len(part)]


def chosen_texts(explained: Floats) -> dict[str, list[int]]:
    """Numbers of texts from the top, middle and bottom tenth, evenly over each; ``explained`` is ``[text]``."""
    order = np.argsort(explained, kind="stable")
    order = order[: int((~np.isnan(explained)).sum())]
    tenth = max(1, len(order) // DECILES)
    middle = (len(order) - tenth) // 2
    runs = {"top": order[::-1][:tenth], "middle": order[middle : middle + tenth], "bottom": order[:tenth]}
    return {part: _evenly(run) for part, run in runs.items()}


def examples_of(
    loaded: LoadedModel, texts: Sequence[str | Pair], explained: Floats, sites: Sequence[Site], *, truncate: bool
) -> list[list[dict[str, Any]]]:
    """Examples of every head, in the order of the sites.

    Args:
        texts: that were scored; ``explained``: ``[text, head]``, how much the programs explain of each.
    """
    pool = np.arange(0, len(texts), max(1, len(texts) // POOL))[:POOL]
    wanted: dict[int, list[tuple[int, str]]] = {}
    for head in range(explained.shape[1]):
        for part, numbers in chosen_texts(explained[pool, head]).items():
            for number in numbers:
                wanted.setdefault(int(pool[number]), []).append((head, part))
    found: list[list[dict[str, Any]]] = [[] for _ in range(explained.shape[1])]
    starts = np.cumsum([0, *(site.heads for site in sites)])
    for number in sorted(wanted):
        record = record_texts(loaded, [texts[number]], truncate=truncate)[0]
        for head, part in wanted[number]:
            at = int(np.searchsorted(starts, head, side="right")) - 1
            entry = record.entries[at]
            weights = entry.weights[head - int(starts[at])][:MOST_TOKENS, :MOST_TOKENS].float().cpu()
            pieces = ([visible(piece) for piece in side.pieces[:MOST_TOKENS]] for side in (entry.queries, entry.keys))
            share = round(float(explained[number, head]), 4)
            found[head].append({"part": part, "explained": share, **_shown(weights, *pieces)})
    for each in found:
        each.sort(key=lambda example: (PARTS.index(example["part"]), -example["explained"]))
    return found


def _evenly(run: np.ndarray[Any, Any]) -> list[int]:
    return [
        int(run[index])
        for index in np.unique(np.linspace(0, len(run) - 1, min(PER_PART, len(run))).round().astype(int))
    ]


def _shown(weights: torch.Tensor, queries: list[str], keys: list[str]) -> dict[str, Any]:
    """Tokens with the weight that each receives, and the strongest links of different queries."""
    received = weights.mean(0)
    strongest, at = weights.max(-1)
    order = strongest.argsort(descending=True)[:MOST_LINKS].tolist()
    links = [[query, int(at[query]), round(float(strongest[query]), 3)] for query in sorted(order)]
    shown = {"tokens": keys, "received": [round(value, 4) for value in received.tolist()], "links": links}
    return shown if queries == keys else {**shown, "queries": queries}
