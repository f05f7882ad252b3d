"""What can be compared, and the sites of two records that stand for each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import load
from attention_analyzer.site import Site
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.divergence import Rows, Unit, rows_of

#: A head's place: ``(layer, head)`` within a group of sites.
Place = tuple[int, int]


def loaded_of(model: Any) -> LoadedModel:
    """The model meant by an analyzer, a name, a folder, a :class:`LoadedModel`, or ``(model, tokenizer)``.

    Raises:
        InputError: it is none of these.
        ModelError: it cannot be had or loaded.
    """
    if isinstance(model, LoadedModel):
        return model
    inside = getattr(model, "loaded", None)
    if isinstance(inside, LoadedModel):
        return inside
    if isinstance(model, (str, os.PathLike)):
        return load(model)
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], nn.Module):
        return load(*model)
    raise InputError(
        f"A model to compare is an analyzer, a name, a folder or (model, tokenizer), not {type(model).__name__}."
    )


def paired_groups(first: Sequence[Site], second: Sequence[Site]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Groups of sites (stack and kind) that stand for each other: of one name, or, where none is shared, the first."""
    left, right = (list(dict.fromkeys((site.stack, str(site.kind)) for site in sites)) for sites in (first, second))
    shared = [(group, group) for group in left if group in right]
    return shared or [(left[0], right[0])]


def entries_in(record: CapturedAttention, group: tuple[str, str]) -> list[SiteRecord]:
    """The sites of a group.

    Raises:
        InputError: its layers differ in their queries and keys.
    """
    found = [entry for entry in record.entries if (entry.site.stack, entry.site.kind) == group]
    shapes = {entry.weights.shape[1:] for entry in found}
    if len(shapes) > 1:
        raise InputError(
            f"The layers of {group[0]} {group[1]}-attention of {record.model_name} differ in their queries and keys "
            f"({sorted(shapes)}), so one text has no single set of rows to compare."
        )
    return found


def places_in(sites: Sequence[Site]) -> list[Place]:
    """Layer and head of every head, in the order of :func:`joined_rows`."""
    return [(site.layer, head) for site in sites for head in range(site.heads)]


def joined_rows(
    weights: Sequence[AttentionWeights], queries: Sequence[Unit] | None = None, keys: Sequence[Unit] | None = None
) -> Rows:
    """The rows of all heads of a group together, over units of tokens; see :func:`.divergence.rows_of`."""
    parts = [rows_of(each, queries, keys) for each in weights]

    def read(run: slice) -> Tensor:
        return torch.cat([part.read(run).cpu() for part in parts])

    return Rows(sum(part.heads for part in parts), parts[0].rows, parts[0].cells, read)
