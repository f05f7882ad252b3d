"""Patterns of attention weights that are given as numbers, with or without their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.errors import InputError
from attention_analyzer.patterns.frame import frame_of
from attention_analyzer.patterns.measure import Strengths, measure_weights
from attention_analyzer.patterns.pattern import Frame, Pattern
from attention_analyzer.patterns.table import PATTERNS
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.visibility import Visibility


def strengths_of(
    weights: Any, tokens: Tokens | Sequence[str] | None = None, patterns: Sequence[Pattern] = PATTERNS
) -> dict[str, float]:
    """Every pattern's strength in one head's weights ``[query, key]``; for ``[head, query, key]`` the means over heads.

    Args:
        weights: torch or NumPy; never written to. Where no query looks past its own position, the weights are taken
            to be causal: later keys are not visible, rather than visible and ignored.
        tokens: what the positions show; patterns that are about tokens are left out without them.

    Returns:
        Name to strength in [0, 1]; patterns without a meaning here are left out.

    Raises:
        InputError: the weights have another shape, or another length than the tokens.
    """
    found = measure_matrix(weights, tokens, patterns)
    means = found.strength.nanmean(1).tolist()
    return {each.name: mean for each, mean in zip(found.patterns, means, strict=True) if mean == mean}  # noqa: PLR0124


def named(
    weights: Any, tokens: Tokens | Sequence[str] | None = None, patterns: Sequence[Pattern] = PATTERNS
) -> list[str]:
    """The names that one head's weights ``[query, key]`` earn in this one text, the most specific first.

    A name is earned where the strength, corrected for chance, reaches the pattern's threshold and the strength is above
    its position-matched control. One text is no proof: :func:`.labels.label_heads` says it with intervals over texts.

    Raises:
        InputError: the weights are not those of one head.
    """
    found = measure_matrix(weights, tokens, patterns)
    if found.strength.shape[1] != 1:
        raise InputError(f"The weights of one head [query, key] were expected, not of {found.strength.shape[1]} heads.")
    strength, chance, position = (part[:, 0] for part in (found.strength, found.chance, found.position))
    corrected = corrected_for_chance(strength, chance)
    return [
        pattern.name
        for index, pattern in enumerate(found.patterns)
        if corrected[index] >= pattern.threshold and not strength[index] <= position[index]
    ]


def corrected_for_chance(strength: Tensor, chance: Tensor) -> Tensor:
    """``(strength - chance) / (1 - chance)``: 0 is what chance gives, 1 the most there can be (as Cohen's κ).

    The strength itself where there is no chance level (NaN); 0 where chance alone gives 1.
    """
    corrected = torch.where(chance < 1 - 1e-6, (strength - chance) / (1 - chance), 0)
    return torch.where(chance.isnan(), strength, corrected)


def measure_matrix(
    weights: Any, tokens: Tokens | Sequence[str] | None = None, patterns: Sequence[Pattern] = PATTERNS
) -> Strengths:
    """Strengths and controls of weights ``[query, key]`` or ``[head, query, key]``."""
    tensor = torch.as_tensor(weights).detach()
    tensor = tensor[None] if tensor.dim() == 2 else tensor
    if tensor.dim() != 3 or not tensor.numel() or not tensor.is_floating_point():
        raise InputError(
            f"Weights [query, key] or [head, query, key] were expected, not {tensor.dtype} {tuple(tensor.shape)}."
        )
    queries, keys = tensor.shape[1:]
    diagonal = keys - queries if keys >= queries else None
    if tokens is None:
        frame = Frame(diagonal, {"first": torch.arange(keys)[None] == 0})
    else:
        shown = tokens if isinstance(tokens, Tokens) else Tokens.of_pieces(tokens)
        if len(shown) != keys:
            raise InputError(f"The weights have {keys} keys, but {len(shown)} tokens were given.")
        frame = frame_of(_last(shown, queries), shown, diagonal)
    causal = diagonal is not None and keys > 1 and not bool(tensor.triu(diagonal + 1).any())
    seen = Visibility(queries, keys, upper=diagonal if causal else None)
    return measure_weights(DenseWeights(tensor[None], seen), frame, patterns)


def _last(tokens: Tokens, count: int) -> Tokens:
    if count == len(tokens):
        return tokens
    data = {name: value[-count:] if name != "texts" else value for name, value in tokens.to_dict().items()}
    return Tokens.from_dict(data)
