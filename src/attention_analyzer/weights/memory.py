"""How much memory attention weights keep, with what several layers share counted once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.bias import DenseBias
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights


def kept_bytes(weights: Iterable[AttentionWeights]) -> int:
    """Bytes of the queries, keys, masks and biases (or stored weights) of some layers."""
    return sum(dict(storages(tensor for each in weights for tensor in kept_tensors(each))).values())


def storages(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Where the memory of tensors lies, and its bytes: of a view all that it keeps alive."""
    for tensor in tensors:
        storage = tensor.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()


def kept_tensors(weights: AttentionWeights) -> Iterator[Tensor]:
    """The arrays that some weights are made of."""
    seen = weights.visibility
    if isinstance(weights, DenseWeights):
        yield weights.tensor
    if isinstance(weights, QueryKeyWeights):
        source, bias = weights.source, weights.source.bias
        yield from (source.query, source.key)
        if bias is not None:
            yield bias.values if isinstance(bias, DenseBias) else bias.diagonals
    yield from (part for part in (seen.key_seen, seen.mask, *(seen.segments or ())) if part is not None)
