"""A text's rules as matrices: rows over the visible keys that sum to one, or to zero where a query has no target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.text_facts import RuleText

#: Cells of all rules together that are held at once.
_CELLS = 1 << 23


def rule_rows(text: RuleText, rules: Sequence[Rule], rows: slice, seen: Tensor) -> Tensor:
    """``[rule, row, key]``, float32.

    Args:
        seen: bool ``[row, key]``, the keys that each query sees.
    """
    found = torch.zeros(len(rules), rows.stop - rows.start, text.keys.size)
    for number, rule in enumerate(rules):
        chosen = rule.chosen(text, rows)
        if chosen is not None:
            torch.mul(chosen, seen, out=found[number])
    return found.div_(found.sum(-1, keepdim=True).clamp_(min=1e-30))


def even_rows(seen: Tensor) -> Tensor:
    """``[row, key]``: the same weight on all visible keys."""
    return seen.float() / seen.sum(-1, keepdim=True).clamp(min=1)


def row_blocks(rules: int, queries: int, keys: int) -> Iterator[slice]:
    """Runs of queries whose matrices fit the memory that is held at once."""
    step = max(1, _CELLS // max(1, rules * keys))
    return (slice(start, min(start + step, queries)) for start in range(0, queries, step))
