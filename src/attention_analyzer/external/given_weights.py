"""A record of attention weights that another program computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError
from attention_analyzer.external.arrays import as_tokens, layer_arrays, layer_numbers
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.checks import check_weights
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def record_from_weights(
    weights: Any,
    tokens: Sequence[str] | Tokens,
    *,
    key_tokens: Sequence[str] | Tokens | None = None,
    batch: int | None = None,
    layers: Sequence[int] | None = None,
    causal: bool | None = None,
    partial_rows: bool = False,
    stack: str | None = None,
    model_name: str = "",
) -> CapturedAttention:
    """See :meth:`.AttentionRecord.from_weights`."""
    queries = as_tokens(tokens)
    keys = queries if key_tokens is None else as_tokens(key_tokens, "key tokens")
    given = layer_arrays(weights, "weights", "head, query, key", batch)
    numbers = layer_numbers(layers, len(given))
    arrays = [
        _checked(array, f"layer {number}", queries, keys, partial_rows)
        for number, array in zip(numbers, given, strict=True)
    ]
    if causal is None:
        causal = key_tokens is None and len(queries) > 1 and all(_is_causal(array) for array in arrays)
    elif causal and not all(_is_causal(array) for array in arrays):
        raise InputError("The weights are not causal: some weight on a later token is not zero; leave out causal=True.")
    kind: Kind = "self" if key_tokens is None else "cross"
    stack = stack or ("decoder" if causal or kind == "cross" else "encoder")
    seen = Visibility(len(queries), len(keys), upper=0 if causal else None)
    entries = tuple(
        SiteRecord(Site(stack, kind, number, array.shape[0]), DenseWeights(array[None], seen), queries, keys)
        for number, array in zip(numbers, arrays, strict=True)
    )
    return CapturedAttention(entries, model_name=model_name, exact=False)


def _checked(array: Tensor, name: str, queries: Tokens, keys: Tokens, partial_rows: bool) -> Tensor:
    """A copy ``[head, query, key]`` of weights whose shape and values were checked."""
    if array.shape[1:] != (len(queries), len(keys)) or array.shape[0] == 0:
        raise InputError(
            f"The weights of {name} have the shape {tuple(array.shape)}, but [head, {len(queries)}, {len(keys)}] was "
            f"expected for {len(queries)} query and {len(keys)} key tokens."
        )
    weights = array.clone() if array.dtype in _DTYPES else array.float()
    check_weights(weights, name, partial_rows=partial_rows)
    return weights


def _is_causal(array: Tensor) -> bool:
    return not bool(array.triu(1).any())
