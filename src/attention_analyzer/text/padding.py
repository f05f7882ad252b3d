"""Texts of different lengths on one axis: padded on the right, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_analyzer.text.tokens import Tokens


def padded(rows: Sequence[Sequence[int]], length: int, fill: int) -> Tensor:
    """``[row, length]`` of the rows' own kind (int64, or bool for flags), filled up."""
    kind = torch.bool if isinstance(fill, bool) else torch.int64
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows], dtype=kind)


def valid_of(tokens: Sequence[Tokens]) -> Tensor:
    """bool ``[text, token]``: False for padding."""
    lengths = torch.tensor([len(each) for each in tokens])
    return torch.arange(int(lengths.max()))[None] < lengths[:, None]


def padded_groups(tokens: Sequence[Tokens], device: torch.device) -> dict[str, Tensor]:
    """The key groups of a batch: bool ``[text, key]`` by name; padding is in none."""
    rows = [each.members for each in tokens]
    length = max(map(len, tokens))
    return {name: padded([row[name] for row in rows], length, False).to(device) for name in rows[0]}
