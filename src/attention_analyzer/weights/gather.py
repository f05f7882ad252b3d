"""The pass: finished blocks run past all reductions, once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from attention_analyzer.errors import CaptureError
from attention_analyzer.weights.block import Block
from attention_analyzer.weights.linear_reductions import DiagonalPart, LinearPart
from attention_analyzer.weights.reductions import Axes, LargestWeight, Reduction, Shared, Statistics


def gather(blocks: Iterable[Block], reductions: Collection[Reduction], axes: Axes, like: Tensor) -> Statistics:
    """Run the blocks past all reductions.

    Args:
        blocks: finished rows, each cell exactly once.
        like: a tensor with the dtype and device the results should have.

    Raises:
        CaptureError: a weight of a query that counts is NaN or infinite.
    """
    # The largest weights are always gathered: they show whether anything is not finite.
    results = {reduction: reduction.start(axes, like) for reduction in dict.fromkeys([*reductions, LargestWeight()])}
    linear = LinearPart(results, axes, like.dtype, like.device)
    diagonal = DiagonalPart(results, axes, like)
    plain = [(reduction, result) for reduction, result in results.items() if not isinstance(reduction, Shared)]
    all_valid = bool(axes.valid.all())
    for block in blocks:
        if not all_valid:
            _silence_invalid(block, axes)
        for reduction, result in plain:
            reduction.update(result, block, axes)
        linear.update(results, block)
        diagonal.update(block)
    diagonal.finish(results)
    return as_statistics(results, axes)


def as_statistics(results: Mapping[Reduction, Tensor], axes: Axes) -> Statistics:
    """Results ``[flat head, query or key]``, the largest weights among them, put into shape and checked.

    Raises:
        CaptureError: a weight of a query that counts is NaN or infinite.
    """
    shaped = {reduction: result.view(axes.batch, axes.heads, -1) for reduction, result in results.items()}
    _check_finite(shaped[LargestWeight()], axes)
    return Statistics(axes, shaped)


def _silence_invalid(block: Block, axes: Axes) -> None:
    """Padding queries give no weight to anything, so that what keys receive needs no second thought."""
    texts = torch.arange(block.heads.start, block.heads.stop, device=axes.valid.device) // axes.heads
    invalid = ~axes.valid[texts, block.rows].to(block.weights.device)
    if bool(invalid.any()):
        block.weights.masked_fill_(invalid[..., None], 0)


def _check_finite(largest: Tensor, axes: Axes) -> None:
    bad = ~torch.isfinite(largest) & axes.valid[:, None]
    if bool(bad.any()):
        text, head, query = (int(index) for index in bad.nonzero()[0])
        raise CaptureError(
            f"The attention weights of head {head}, query {query} (text {text}) are NaN or infinite; "
            "the model itself computes them so: check its weights and dtype."
        )
