"""Everything that one attention matrix says by itself, as a plain dict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from attention_analyzer.metrics import METRICS
from attention_analyzer.metrics.head_table import evaluate, needs_of
from attention_analyzer.patterns.matrix import Matrix, measure_matrix, names_earned, read_matrix
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.text.tokens import Tokens

#: Metrics whose names are shorter here: of a matrix of weights, everything is a weight.
_SHORT = {"mean_weight": "mean", "max_weight": "max", "min_weight": "min"}


def analyze_matrix(pattern: Any, tokens: Sequence[str] | Tokens | None = None) -> dict[str, Any]:
    """Statistics and named patterns of an attention matrix.

    Args:
        pattern: ``[query, key]`` for one head, or ``[head, query, key]`` or ``[1, head, query, key]``, torch or NumPy;
            see :func:`.matrix.read_matrix` for what is taken to be causal.
        tokens: what the keys show; without them, what depends on tokens is left out.

    Returns:
        ``mean``, ``max``, ``min``, ``entropy`` and the other :data:`.metrics.METRICS` by name (of several heads: their
        means, and for ``max`` and ``min`` the extremes); ``patterns``, strength in [0, 1] by name (means, again);
        ``shows``, the names that the matrix earns, the most specific first (see :func:`.matrix.named`; of several
        heads, what at least one of them earns); and for several heads ``heads``, a list of the same for each. What has
        no meaning for the matrix is left out.

    Raises:
        InputError: another shape, another length than the tokens, or numbers that are no weights.
    """
    matrix = read_matrix(pattern, tokens)
    values = _metrics(matrix)
    found = measure_matrix(matrix)
    earned = names_earned(found)
    heads = [
        {name: float(value[head]) for name, value in values.items() if not value[head].isnan()}
        | {"patterns": _known((each.name, float(found.strength[i, head])) for i, each in enumerate(found.patterns))}
        | {"shows": earned[head]}
        for head in range(matrix.weights.heads)
    ]
    if len(heads) == 1:
        return heads[0]
    joined = {name: float(value.nanmean()) for name, value in values.items()}
    joined |= {"max": float(values["max"].max()), "min": float(values["min"].min())}
    means = zip(found.patterns, found.strength.nanmean(1).tolist(), strict=True)
    return (
        _known(joined.items())
        | {"patterns": _known((pattern.name, mean) for pattern, mean in means)}
        | {"shows": [pattern.name for pattern in PATTERNS if any(pattern.name in names for names in earned)]}
        | {"heads": heads}
    )


def _metrics(matrix: Matrix) -> dict[str, Tensor]:
    """float64 ``[head]`` by name, for those metrics that can be told."""
    groups = matrix.frame.groups if matrix.keys is None else matrix.keys.groups()
    known = [metric for metric in METRICS if all(getattr(need, "group", "first") in groups for need in metric.needs)]
    results = matrix.weights.reduce(needs_of(known), diagonal=matrix.frame.diagonal, groups=groups)
    return {_SHORT.get(name, name): value[0].double().cpu() for name, value in evaluate(results, known).items()}


def _known(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Without what is undefined."""
    return {name: value for name, value in pairs if value == value}  # noqa: PLR0124 (NaN is not itself)
