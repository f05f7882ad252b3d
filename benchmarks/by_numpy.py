"""Every measure of a scan from one text's full matrices, as one writes it by hand in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.patterns.fixed_offset import REACH
from attention_analyzer.patterns.token_context import token_context_of
from attention_analyzer.patterns.vertical import SHARE
from attention_analyzer.text.tokens import Tokens

Floats = NDArray[np.floating]


def by_numpy(weights: Floats, tokens: Tokens) -> tuple[dict[str, Floats], dict[str, NDArray]]:
    """All measures, and where each head looks most.

    Args:
        weights: ``[head, query, key]`` of an encoder's self-attention, every query seeing every key.
        tokens: of the text.

    Returns:
        ``[head]`` by the measure's name, without those that cannot be found in weights; and the strongest key of each
        query ``[head, query]``, the weight on it, and the strongest pair of tokens that are not special ``[head]``.
    """
    heads, size = weights.shape[:2]
    frame = token_context_of(tokens, tokens, 0)
    group = {name: flags[0].numpy() for name, flags in frame.groups.items()}
    labels = {name: (queries[0].numpy(), keys[0].numpy()) for name, (queries, keys) in frame.labels.items()}
    nothing = np.full(heads, np.nan)

    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    entropy = -(weights * logs).sum(-1)
    total = weights.sum(-1)
    largest = weights.max(-1)
    place = np.arange(size)
    apart = np.abs(place[:, None] - place)
    received = weights.sum(1)
    shares = received / received.sum(-1, keepdims=True)
    on_itself = np.diagonal(weights, 0, 1, 2)
    local = np.where(apart <= 2, weights, 0).sum(-1).mean(-1)
    few = max(1, size // SHARE)
    offsets = {offset: np.diagonal(weights, offset, 1, 2) for offset in range(-REACH, REACH + 1)}
    in_group = {name: weights[:, :, flags].sum(-1).mean(-1) for name, flags in group.items()}
    absent = np.zeros(heads)

    metrics = {
        "mean_weight": total.sum(-1) / size**2,
        "max_weight": largest.max(-1),
        "min_weight": weights.min((1, 2)),
        "entropy": entropy.mean(-1),
        "normalized_entropy": (entropy / np.log(size)).mean(-1),
        "effective_keys": np.exp(entropy).mean(-1),
        "confidence": largest.mean(-1),
        "distance": ((weights * apart).sum(-1) / total).mean(-1),
        "self_weight": on_itself.mean(-1),
        "other_weight": (total - on_itself).mean(-1),
        "previous_weight": offsets[-1].mean(-1),
        "next_weight": offsets[1].mean(-1),
        "first_weight": in_group["first"],
        "special_weight": in_group.get("special", absent),
        "separator_weight": in_group.get("separator", absent),
        "punctuation_weight": in_group.get("punctuation", absent),
        "local_weight": local,
        "received_concentration": 1 + (shares * np.log(shares)).sum(-1) / np.log(size),
    }
    strengths = {
        "self": metrics["self_weight"],
        "previous_token": metrics["previous_weight"],
        "next_token": metrics["next_weight"],
        "fixed_offset": np.max([part.sum(-1) / size for offset, part in offsets.items() if abs(offset) > 1], 0),
        "induction": _matching(weights, labels["token_before"], place[:, None] > place),
        "duplicate_token": _matching(weights, labels["token"], apart > 0),
        "first_token": in_group["first"],
        "separator": in_group.get("separator", nothing),
        "special_token": in_group.get("special", nothing),
        "punctuation": in_group.get("punctuation", nothing),
        "local_window": local,
        "same_sentence": _matching(weights, labels["sentence"], apart >= 0) if "sentence" in labels else nothing,
        "vertical": np.sort(received, -1)[:, -few:].sum(-1) / received.sum(-1),
        "broad": np.minimum(np.exp(entropy / total + np.log(total)) / size, 1).mean(-1),
    }
    strengths["mixed"] = 1 - np.nanmax(list(strengths.values()), 0)
    return metrics | strengths, _looks(weights, largest, ~group.get("special", np.zeros(size, dtype=bool)))


def _matching(weights: Floats, labels: tuple[NDArray, NDArray], among: NDArray) -> Floats:
    """Mean weight on the keys, among these, with the query's own label, over the queries that see one."""
    queries, keys = labels
    alike = (queries[:, None] == keys) & (queries >= 0)[:, None] & among
    some = alike.any(-1)
    if not some.any():
        return np.full(len(weights), np.nan)
    return np.where(alike, weights, 0).sum(-1)[:, some].mean(-1)


def _looks(weights: Floats, largest: Floats, plain: NDArray) -> dict[str, NDArray]:
    strongest = weights.argmax(-1)
    pair_weight = np.where(plain & plain[strongest], largest, -1).max(-1)
    return {"strongest": strongest, "largest": largest, "pair_weight": pair_weight}
