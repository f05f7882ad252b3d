"""A record of queries and keys that another program computed: exact weights, in memory linear in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError
from attention_analyzer.external.arrays import as_tensor, as_tokens, is_array, layer_arrays, layer_numbers
from attention_analyzer.site import Kind, Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.additive import AdditiveMask, read_additive, with_low_rows
from attention_analyzer.weights.bias import as_bias
from attention_analyzer.weights.checks import check_floats, check_source
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource, working_dtype
from attention_analyzer.weights.visibility import Visibility, visibility_of


@dataclass(frozen=True)
class _Settings:
    """How one layer turns queries and keys into weights; see :meth:`.AttentionRecord.from_queries_and_keys`."""

    scaling: Any
    window: Any
    softcap: Any
    sinks: Any
    bias: Any
    mask: Any


def record_from_queries_and_keys(
    queries: Any,
    keys: Any,
    tokens: Sequence[str] | Tokens,
    *,
    key_tokens: Sequence[str] | Tokens | None = None,
    batch: int | None = None,
    layers: Sequence[int] | None = None,
    scaling: Any = None,
    causal: bool = False,
    window: Any = None,
    softcap: Any = None,
    sinks: Any = None,
    bias: Any = None,
    mask: Any = None,
    stack: str | None = None,
    model_name: str = "",
) -> CapturedAttention:
    """See :meth:`.AttentionRecord.from_queries_and_keys`."""
    if not isinstance(causal, bool):
        raise InputError(f"causal={causal!r} must be True (queries see no later key) or False.")
    kind: Kind = "self" if key_tokens is None else "cross"
    if kind == "cross" and (causal or window is not None):
        raise InputError(
            "causal and window are for self-attention, but key_tokens makes this cross-attention; leave key_tokens out "
            "if the keys are of the same text (fewer queries than keys are then its last tokens)."
        )
    main = as_tokens(tokens)
    of_keys = main if key_tokens is None else as_tokens(key_tokens, "key tokens")
    axes = "head, token, channel"
    all_queries, all_keys = layer_arrays(queries, "queries", axes, batch), layer_arrays(keys, "keys", axes, batch)
    count = len(all_queries)
    if count != len(all_keys):
        raise InputError(f"Queries of {count} layers were given, but keys of {len(all_keys)}; one of each is needed.")
    settings = [
        _Settings(*of_layer)
        for of_layer in zip(
            _numbers(scaling, "scaling", count),
            _numbers(window, "window", count),
            _numbers(softcap, "softcap", count),
            _arrays(sinks, "sinks", count, axes=1),
            _arrays(bias, "bias", count, axes=3),
            _arrays(mask, "mask", count, axes=3),
            strict=True,
        )
    ]
    numbers = layer_numbers(layers, count)
    stack = stack or ("decoder" if causal or kind == "cross" else "encoder")
    entries = []
    for number, query, key, setting in zip(numbers, all_queries, all_keys, settings, strict=True):
        name = f"layer {number}"
        asking = _query_tokens(main, of_keys, query, key, causal, kind, name)
        weights = QueryKeyWeights(_source(query, key, setting, causal, name))
        entries.append(SiteRecord(Site(stack, kind, number, weights.heads), weights, asking, of_keys))
    return CapturedAttention(tuple(entries), model_name=model_name)


def _query_tokens(
    tokens: Tokens, of_keys: Tokens, query: Tensor, key: Tensor, causal: bool, kind: Kind, name: str
) -> Tokens:
    """The tokens of the queries: all, or the last ones of a causal text whose first were computed before."""
    shapes = f"the queries of {name} have the shape {tuple(query.shape)} and the keys {tuple(key.shape)}"
    asked, seen = query.shape[1], key.shape[1]
    if seen != len(of_keys) or (asked != len(tokens) and not (causal and 0 < asked < seen)):
        known = f"{len(tokens)} tokens" + (f" and {len(of_keys)} key tokens" if kind == "cross" else "")
        raise InputError(f"{known} were given, but {shapes}, [head, token, channel].")
    if asked == len(tokens):
        return tokens
    last = slice(seen - asked, seen)
    return Tokens(
        pieces=tokens.pieces[last],
        ids=tokens.ids[last],
        spans=tokens.spans[last],
        is_special=tokens.is_special[last],
        is_separator=tokens.is_separator[last],
        segments=tokens.segments[last],
        texts=tokens.texts,
    )


def _source(query: Tensor, key: Tensor, settings: _Settings, causal: bool, name: str) -> ScoreSource:
    """Everything of one layer, checked; the tensors are copies."""
    check_floats(query, f"queries of {name}")
    check_floats(key, f"keys of {name}")
    dtype, device = torch.promote_types(query.dtype, key.dtype), query.device
    query, key = (part[None].to(device, dtype, copy=True).contiguous() for part in (query, key))
    working = working_dtype(query)
    seen, added = _seen_and_added(query, key, settings, causal, name)
    bias = as_bias(added.extra.clone()) if added is not None and bool(added.extra.any()) else None
    source = ScoreSource(
        query=query,
        key=key,
        scaling=query.shape[3] ** -0.5 if settings.scaling is None else settings.scaling,
        visibility=seen,
        softcap=settings.softcap,
        bias=bias,
        sinks=None if settings.sinks is None else settings.sinks.to(device, working),
    )
    check_source(source, name)
    if added is None or added.lowest is None:
        return source
    return with_low_rows(source, added.lowest, working)


def _seen_and_added(
    query: Tensor, key: Tensor, settings: _Settings, causal: bool, name: str
) -> tuple[Visibility, AdditiveMask | None]:
    heads, queries, keys = query.shape[1], query.shape[2], key.shape[2]
    shift, window = keys - queries, settings.window
    if window is not None and (not isinstance(window, int) or isinstance(window, bool) or window < 1):
        raise InputError(f"The window of {name} is {window!r}, but a number of keys from 1, or None, was expected.")
    upper = shift if causal else None if window is None else shift + window - 1
    band = Visibility(queries, keys, lower=None if window is None else shift - window + 1, upper=upper)
    if settings.mask is None and settings.bias is None:
        return band, None
    cells = band.seen(slice(0, queries), slice(0, keys), slice(0, 1), query.device)
    own, added = None, None
    if settings.mask is not None:
        own = _plane(settings.mask, heads, queries, keys, f"mask of {name}")
        if own.dtype not in (torch.bool, torch.uint8) or bool((own > 1).any()):
            raise InputError(
                f"The mask of {name} must hold True or 1 where a query sees a key; a bias is added to scores."
            )
        own = own.bool().to(query.device)[None]
        cells = own if cells is None else cells & own
    if settings.bias is not None:
        values = _plane(settings.bias, heads, queries, keys, f"bias of {name}")
        if not values.is_floating_point():
            raise InputError(f"The bias of {name} is {values.dtype}; numbers to add are needed (mask= takes booleans).")
        values = values.to(query.device, working_dtype(query))
        check_floats(values.masked_fill(values == -torch.inf, 0), f"bias of {name}")
        takes_all = torch.zeros((), dtype=torch.bool, device=query.device)  # a sink beside low numbers
        added = read_additive(values[None], among=cells, counted=None if settings.sinks is None else takes_all)
        own = added.seen if own is None else own & added.seen
    if own is None or bool(own.all()):
        return band, added
    return visibility_of(own if cells is None else cells & own, queries, keys), added


def _plane(given: Tensor, heads: int, queries: int, keys: int, name: str) -> Tensor:
    """``[head or 1, query, key]``."""
    plane = given[None] if given.dim() == 2 else given
    if plane.dim() != 3 or plane.shape[0] not in (1, heads) or plane.shape[1:] != (queries, keys):
        raise InputError(
            f"The {name} has the shape {tuple(given.shape)}, but [{queries}, {keys}] or [{heads} or 1, {queries}, "
            f"{keys}] was expected."
        )
    return plane


def _numbers(given: Any, name: str, count: int) -> list[Any]:
    """A number for each layer: the same for all, or one each."""
    given = _plain(given)
    if not isinstance(given, list | tuple):
        return [given] * count
    if len(given) != count:
        raise InputError(
            f"{name} lists {len(given)} values, but there are {count} layers; give one each, or one for all."
        )
    return [_plain(each) for each in given]


def _plain(value: Any) -> Any:
    """Python's own numbers for those of NumPy and PyTorch."""
    return value.tolist() if hasattr(value, "tolist") else value


def _arrays(given: Any, name: str, count: int, axes: int) -> list[Tensor | None]:
    """An array for each layer: the same for all (of up to ``axes`` axes), or one each (a list, or an axis more)."""
    if given is None:
        return [None] * count
    # A list of arrays is one for each layer; a list of numbers, or of lists of them, is an array.
    listed = isinstance(given, list | tuple) and any(each is None or is_array(each) for each in given)
    if not listed:
        whole = as_tensor(given, name)
        if whole.dim() <= axes:
            return [whole] * count
        given = list(whole)
    if len(given) != count:
        raise InputError(
            f"{name} is given for {len(given)} layers, but there are {count}; give one each, or one for all."
        )
    return [None if each is None else as_tensor(each, f"{name} of layer {at}") for at, each in enumerate(given)]
