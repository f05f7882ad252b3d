"""Additive masks: numbers added to the scores, of which very low ones hide a key.

A finite low number hides a key only beside a higher one. In a row that has nothing else, softmax takes the lowest
numbers off again: the query attends to all those keys, by what the addition has left of their scores. Beside ``-1e9``
a float32 score is rounded to a multiple of 64, so such a row is even; only ``-inf`` hides every key of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_analyzer.weights.bias import DenseBias
from attention_analyzer.weights.scores import ScoreSource, working_dtype

#: At or below this a number hides its cell beside a higher one: the exponential is zero in every dtype, and the
#: constants that models use (-1e4, -1e9, the dtype's minimum, -inf) all lie here.
HIDES_AT = -1e4


@dataclass(frozen=True)
class AdditiveMask:
    """What an additive mask says of the cells ``[batch, head, query, key]``, to which its parts broadcast.

    Attributes:
        seen: bool, True where a query sees a key.
        extra: what is added to the scores of visible cells, less ``lowest``; zero elsewhere.
        lowest: ``[.., query, 1]``: in rows that hold nothing but low finite numbers the highest of these, else zero;
            None where there is no such row.
    """

    seen: Tensor
    extra: Tensor
    lowest: Tensor | None = None


def read_additive(mask: Tensor, *, among: Tensor | None = None, counted: Tensor | None = None) -> AdditiveMask:
    """Read numbers that are added to scores.

    Args:
        mask: broadcasts to ``[batch, head, query, key]``.
        among: bool, cells that nothing else hides; all by default.
        counted: bool ``[batch, 1, query, 1]``, False for queries that are padding, whose rows may say anything.
    """
    seen = mask > HIDES_AT
    if among is not None:
        seen = seen & among
    blind = ~seen.any(-1, keepdim=True)
    if counted is not None:
        blind = blind & counted
    if bool(blind.any()):
        open_cells = mask if among is None else mask.masked_fill(~among, -torch.inf)
        highest = open_cells.amax(-1, keepdim=True)
        blind = blind & torch.isfinite(highest)
    if not bool(blind.any()):
        return AdditiveMask(seen, mask.masked_fill(~seen, 0))
    lowest = highest.masked_fill(~blind, 0)
    # Beside the highest a difference of two low numbers may overflow to -inf, which hides as well.
    seen = torch.where(blind, open_cells - lowest > HIDES_AT, seen)
    return AdditiveMask(seen, (mask - lowest).masked_fill(~seen, 0), lowest)


def with_low_rows(source: ScoreSource, lowest: Tensor, dtype: torch.dtype) -> ScoreSource:
    """A source whose scores are rounded as the addition of low numbers rounded them.

    Args:
        source: with what the mask adds besides them as its bias.
        lowest: of :class:`AdditiveMask`.
        dtype: in which the model adds.
    """
    heads, rows = slice(0, source.heads), slice(0, source.queries)
    working = working_dtype(source.query)
    floor = torch.finfo(dtype).min
    texts = []
    for text in range(source.batch):
        scores = source.scores(text, heads, rows)
        low = lowest[min(text, len(lowest) - 1)].to(scores.device, working)
        rounded = (scores + low).clamp(min=floor).to(dtype).to(working) - low
        bias = 0 if source.bias is None else source.bias.tile(text, heads, rows, slice(0, source.keys))
        texts.append(torch.where(low == 0, 0, rounded - scores) + bias)
    return replace(source, bias=DenseBias(torch.stack(texts)))
