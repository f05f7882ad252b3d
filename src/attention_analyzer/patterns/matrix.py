"""Patterns of attention weights that are given as numbers, with or without their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.patterns.measure import Strengths, measure_weights
from attention_analyzer.patterns.pattern import Pattern, TokenContext
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.token_context import token_context_of
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility


@dataclass(frozen=True)
class Matrix:
    """Weights that were given, ``[1, head, query, key]``, with all that is known of their axes.

    Attributes:
        weights: as given, never written to.
        frame: groups and labels of the tokens; without tokens, the first position alone.
        keys: the tokens of the key axis, None where none were given.
    """

    weights: DenseWeights
    frame: TokenContext
    keys: Tokens | None


def strengths_of(
    weights: Any, tokens: Tokens | Sequence[str] | None = None, patterns: Sequence[Pattern] = PATTERNS
) -> dict[str, float]:
    """Every pattern's strength in one head's weights ``[query, key]``; for ``[head, query, key]`` the means over heads.

    Args:
        weights: see :func:`read_matrix`.
        tokens: what the keys show; patterns that are about tokens are left out without them.

    Returns:
        Name to strength in [0, 1]; patterns without a meaning here are left out.

    Raises:
        InputError: the weights are none, or have another length than the tokens.
    """
    found = measure_matrix(read_matrix(weights, tokens), patterns)
    means = found.strength.nanmean(1).tolist()
    return {each.name: mean for each, mean in zip(found.patterns, means, strict=True) if mean == mean}  # noqa: PLR0124


def named(
    weights: Any, tokens: Tokens | Sequence[str] | None = None, patterns: Sequence[Pattern] = PATTERNS
) -> list[str]:
    """The names that one head's weights ``[query, key]`` earn in this one text, the most specific first.

    A name is earned where the strength, corrected for chance and for position (:attr:`.Strengths.corrected`), reaches
    the pattern's threshold. One text is no proof: :func:`.labels.label_heads` says it with intervals over texts.

    Raises:
        InputError: the weights are not those of one head.
    """
    matrix = read_matrix(weights, tokens)
    if matrix.weights.heads != 1:
        raise InputError(f"The weights of one head [query, key] were expected, not of {matrix.weights.heads} heads.")
    return names_earned(measure_matrix(matrix, patterns))[0]


def names_earned(found: Strengths) -> list[list[str]]:
    """Per head, the names that it earns in this one text; see :func:`named`."""
    thresholds = torch.tensor([pattern.threshold for pattern in found.patterns])[:, None]
    return [
        [pattern.name for pattern, earns in zip(found.patterns, head, strict=True) if earns]
        for head in (found.corrected >= thresholds).T.tolist()
    ]


def measure_matrix(matrix: Matrix, patterns: Sequence[Pattern] = PATTERNS) -> Strengths:
    """Strengths and controls of every head."""
    return measure_weights(matrix.weights, matrix.frame, patterns)


def read_matrix(weights: Any, tokens: Tokens | Sequence[str] | None = None) -> Matrix:
    """Weights ``[query, key]``, ``[head, query, key]`` or ``[1, head, query, key]``, torch or NumPy, understood.

    Where no query looks past its own position, the weights are taken to be causal: later keys are not visible, rather
    than visible and ignored. Fewer queries than keys are the last of a causal text if they look so, else another
    sequence (cross-attention), in which offsets have no meaning.

    Raises:
        InputError: another shape, another length than the tokens, or numbers that are no weights.
    """
    tensor = _checked(weights)
    queries, keys = tensor.shape[1:]
    shown = tokens if tokens is None or isinstance(tokens, Tokens) else Tokens.of_pieces(tokens)
    if shown is not None and len(shown) != keys:
        raise InputError(f"The weights have {keys} keys, but {len(shown)} tokens were given.")
    shift = keys - queries
    causal = shift >= 0 and queries > 1 and not bool(tensor.triu(shift + 1).any())
    diagonal = shift if causal or queries == keys else None
    frame = TokenContext(diagonal, {"first": torch.arange(keys)[None] == 0})
    if shown is not None:
        frame = token_context_of(
            _last(shown, queries) if diagonal is not None else Tokens.positions(queries), shown, diagonal
        )
    return Matrix(DenseWeights(tensor[None], Visibility(queries, keys, upper=shift if causal else None)), frame, shown)


def _checked(weights: Any) -> Tensor:
    """Weights ``[head, query, key]``."""
    try:
        tensor = torch.as_tensor(weights).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"Weights [query, key] were expected, not {type(weights).__name__}: {error}.") from None
    shape = tuple(tensor.shape)
    if len(shape) == 4 and shape[0] == 1:
        tensor = tensor[0]
    tensor = tensor[None] if tensor.dim() == 2 else tensor
    if tensor.dim() != 3 or not tensor.numel() or tensor.is_complex():
        raise InputError(
            f"Weights [query, key], [head, query, key] or [1, head, query, key] were expected, not {tensor.dtype} "
            f"{shape}."
        )
    tensor = tensor if tensor.is_floating_point() else tensor.float()
    if not bool(torch.isfinite(tensor).all()) or bool((tensor < 0).any()):
        bad = (~torch.isfinite(tensor) | (tensor < 0)).nonzero()[0].tolist()
        raise InputError(
            f"The weight of head {bad[0]}, query {bad[1]}, key {bad[2]} is {float(tensor[tuple(bad)]):.3g}; "
            "weights are shares between 0 and 1."
        )
    total = float(tensor.float().sum(-1).max())
    if total > 1.02:
        raise InputError(f"A row sums to {total:.3g}; rows of weights (after the softmax) sum to at most 1.")
    return tensor


def _last(tokens: Tokens, count: int) -> Tokens:
    if count == len(tokens):
        return tokens
    data = {name: value[-count:] if name != "texts" else value for name, value in tokens.to_dict().items()}
    return Tokens.from_dict(data)
