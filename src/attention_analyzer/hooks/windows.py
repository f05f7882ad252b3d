"""Windows, frames and crops that a model folds into its batch axis, unfolded into one site of one text or image.

Such rows do not see each other: together they are one array ``[head, query, key]`` whose blocks lie on its diagonal,
with tokens in the order in which the module attended to them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from attention_analyzer.errors import TooLongError
from attention_analyzer.weights.bias import Bias, DenseBias
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

#: Bytes that one unfolded array may take. Masks and weights grow with the square of what is unfolded.
_MOST_BYTES = 8 << 30


def unfold_source(source: ScoreSource, batch: int | None) -> ScoreSource:
    """The call as ``batch`` rows; itself, if it has no more rows than that."""
    pieces = _pieces(source.batch, batch)
    if pieces == 1:
        return source
    return replace(
        source,
        query=_in_a_row(source.query, pieces),
        key=_in_a_row(source.key, pieces),
        visibility=_unfold_visibility(source.visibility, source.batch, pieces, source.device),
        bias=None if source.bias is None else _unfold_bias(source.bias, source, pieces),
        sinks=_unfold_sinks(source.sinks, pieces),
    )


def unfold_weights(weights: DenseWeights, batch: int | None) -> DenseWeights:
    """Stored weights as ``batch`` rows; themselves, if they have no more rows than that."""
    pieces = _pieces(weights.batch, batch)
    if pieces == 1:
        return weights
    seen = _unfold_visibility(weights.seen, weights.batch, pieces, weights.tensor.device)
    return DenseWeights(_on_the_diagonal(weights.tensor, pieces), seen)


def _pieces(rows: int, batch: int | None) -> int:
    return rows // batch if batch and rows > batch and rows % batch == 0 else 1


def _in_a_row(tensor: Tensor, pieces: int) -> Tensor:
    """``[batch · piece, head, token, channel]`` → ``[batch, head, piece · token, channel]``."""
    rows, heads, tokens, channels = tensor.shape
    split = tensor.reshape(rows // pieces, pieces, heads, tokens, channels)
    return split.transpose(1, 2).reshape(rows // pieces, heads, pieces * tokens, channels)


def _on_the_diagonal(tensor: Tensor, pieces: int) -> Tensor:
    """``[batch · piece, head, query, key]`` → ``[batch, head, piece · query, piece · key]``, zero off the diagonal.

    Raises:
        TooLongError: that array would take too much memory.
    """
    rows, heads, queries, keys = tensor.shape
    size = tensor.numel() * pieces * tensor.element_size()
    if size > _MOST_BYTES:
        raise TooLongError(
            f"The model attends in {pieces} windows of {queries} queries and {keys} keys, which side by side would "
            f"take {size / (1 << 30):.0f} GB a site ({_MOST_BYTES >> 30} at most); give a smaller image or text."
        )
    result = tensor.new_zeros(rows // pieces, heads, pieces, queries, pieces, keys)
    split = tensor.reshape(rows // pieces, pieces, heads, queries, keys)
    for piece in range(pieces):
        result[:, :, piece, :, piece] = split[:, piece]
    return result.view(rows // pieces, heads, pieces * queries, pieces * keys)


def _unfold_visibility(seen: Visibility, rows: int, pieces: int, device: torch.device) -> Visibility:
    queries, keys = seen.queries, seen.keys
    numbers = torch.arange(pieces, device=device)
    segments = tuple(numbers.repeat_interleave(size).expand(rows // pieces, -1) for size in (queries, keys))
    mask = None
    if not seen.is_everything:
        cells = seen.seen(slice(0, queries), slice(0, keys), slice(None), device)
        if cells is not None:
            mask = _on_the_diagonal(cells.expand(rows, -1, queries, keys), pieces)
    return Visibility(pieces * queries, pieces * keys, segments=(segments[0], segments[1]), mask=mask)


def _unfold_bias(bias: Bias, source: ScoreSource, pieces: int) -> Bias:
    values = bias.dense().expand(source.batch, -1, source.queries, source.keys)
    return DenseBias(_on_the_diagonal(values, pieces))


def _unfold_sinks(sinks: Tensor | None, pieces: int) -> Tensor | None:
    return sinks if sinks is None or sinks.dim() == 1 else _in_a_row(sinks[..., None], pieces)[..., 0]
