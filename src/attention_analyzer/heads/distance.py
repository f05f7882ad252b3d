"""How differently heads look: Jensen–Shannon divergence between all heads of a stack, streamed, text by text.

Rows are smoothed as published, ``0.999 a + 0.001 / n`` (Clark et al. 2019), and a pair's divergence is the mean over
the rows. Its root over ``√log 2`` is the *distance*: a metric in [0, 1] (Endres & Schindelin 2003) that lies in a
Euclidean space (Fuglede & Topsøe 2004), so that maps and means of it make sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.site import Kind
from attention_analyzer.weights.divergence import LARGEST, Rows, divergence_of_all, rows_of

SMOOTHING = 0.001


def divergence_of_heads(entries: Sequence[SiteRecord]) -> Tensor:
    """``[head, head]`` in nats, float64: mean over the rows, for the heads of all sites one after another.

    Args:
        entries: sites of one text that share their queries and keys.
    """
    parts = [rows_of(entry.weights) for entry in entries]
    first = parts[0]
    joined = Rows(sum(part.heads for part in parts), first.rows, first.cells, lambda run: _smoothed(parts, run))
    found = divergence_of_all(joined, joined)
    return ((found + found.T) / 2).fill_diagonal_(0)


def distance_of(divergence: Any) -> Any:
    """In [0, 1], of divergences in nats: a tensor's or an array's."""
    return (divergence / LARGEST) ** 0.5


def chosen_entries(record: CapturedAttention, stack: str | None, kind: Kind | None) -> list[SiteRecord]:
    """The sites of one stack and kind of attention; by default those of the main text's own.

    Raises:
        SelectionError: there is no such stack or kind.
        InputError: sites of it differ in their axes, so that their heads cannot be compared.
    """
    main = record.sites[0]
    wanted = (stack or (main.stack if kind != "cross" else record.sites[-1].stack), kind or "self")
    found = [entry for entry in record.entries if (entry.site.stack, entry.site.kind) == wanted]
    if not found:
        there = ", ".join(dict.fromkeys(f"{site.stack} {site.kind}" for site in record.sites))
        raise SelectionError(f"There is no {wanted[0]} {wanted[1]}-attention; this model has {there}.")
    shapes = {entry.weights.shape[1:] for entry in found}
    if len(shapes) > 1:
        raise InputError(
            f"The layers of {wanted[0]} {wanted[1]}-attention differ in their queries and keys ({sorted(shapes)}), "
            "so their heads cannot be compared with each other."
        )
    return found


def _smoothed(parts: Sequence[Rows], run: slice) -> Tensor:
    rows = torch.cat([part.read(run).cpu() for part in parts])
    keys = rows.shape[-1] - 1
    rows *= 1 - SMOOTHING
    rows[..., :keys] += SMOOTHING / keys
    return rows
