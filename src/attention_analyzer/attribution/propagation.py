"""From the prediction back to the tokens, one vector through the layers.

A rollout multiplies one matrix per layer, but only some rows of the product are wanted. Taken from the last layer back,
a row vector times each matrix is a weighted column sum: memory stays linear in the text, at any length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from attention_analyzer.attribution.context import Axis, SiteWeights
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.reductions import WeightedColumnSum
from attention_analyzer.weights.scores import ScoreSource

Place = TypeVar("Place", bound=SiteWeights)
Vectors = dict[Axis, Tensor]


def walk_back(
    sites: Sequence[Place],
    start: Tensor,
    axis: Axis,
    step: Callable[[Place, Tensor], tuple[Tensor, Tensor]],
) -> Vectors:
    """Take a vector from the last site back to the first.

    Args:
        sites: in the order of the calls.
        start: ``[query]`` on ``axis``.
        step: for a site and the vector on its queries, what stays where it is and what moves to the keys.

    Returns:
        What arrives on each axis; on an encoder–decoder's "target", what never went across.
    """
    vectors: Vectors = {axis: start.double()}
    for at in reversed(sites):
        if at.queries not in vectors:
            continue
        stays, moves = step(at, vectors[at.queries])
        vectors[at.queries] = stays
        vectors[at.keys] = vectors[at.keys] + moves if at.keys in vectors else moves
    return vectors


def column_sum(weights: AttentionWeights, vector: Tensor) -> Tensor:
    """``Σ_i r_i a_ij`` per head: float64 ``[head, key]`` on the CPU."""
    wanted = WeightedColumnSum("vector")
    factors = {"vector": vector[None].to(weights.empty())}
    return weights.reduce([wanted], factors=factors)[wanted][0].double().cpu()


def uniform(weights: AttentionWeights) -> AttentionWeights:
    """The same site, as if each query looked at all keys that it sees alike."""
    seen = weights.visibility
    heads = weights.heads if seen.differs_by_head else 1
    like = weights.empty()
    nothing = torch.zeros(1, heads, 1, 1, dtype=like.dtype, device=like.device)
    query, key = nothing.expand(-1, -1, weights.queries, -1), nothing.expand(-1, -1, weights.keys, -1)
    return QueryKeyWeights(ScoreSource(query, key, 1.0, seen))


def is_causal(at: SiteWeights) -> bool:
    """Whether queries see only what came before."""
    return at.queries == at.keys and at.weights.visibility.upper == 0
