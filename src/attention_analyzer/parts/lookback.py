"""Lookback ratio: how much of a written token's attention is on what was given (Chuang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError
from attention_analyzer.result import Result
from attention_analyzer.site import Site
from attention_analyzer.weights.reductions import GroupWeight
from attention_analyzer.weights.visibility import Visibility

Floats = NDArray[np.float64]
_GIVEN, _WRITTEN = "given", "written"


@dataclass(frozen=True, repr=False)
class Lookback(Result):
    """Per head and written token, the mean weight per given token over that plus the mean per written token.

    1 is attention to the given text alone, 0 to what was written since, and 0.5 what even attention to all would be.

    Attributes:
        ratios: ``[head, token]``; a token stands for the query that reads it and predicts the next one. NaN where a
            head puts no weight on either (all of it is on an attention sink of the model's own).
        tokens: the written tokens, as text.
        heads: the site and number of each head.
        start: position of the first written token.
    """

    ratios: Floats = field(compare=False)
    tokens: tuple[str, ...]
    heads: tuple[tuple[Site, int], ...]
    start: int
    model_name: str = ""

    def facts(self) -> tuple[str, ...]:
        mean = np.nanmean(self.ratios, axis=1)
        most, least = int(np.nanargmax(mean)), int(np.nanargmin(mean))
        counted = f"{len(self.tokens)} written tokens after {self.start} given ones, {len(self.heads)} heads"
        return (
            counted,
            f"mean lookback ratio {np.nanmean(mean):.2f} (even attention: 0.5)",
            f"most {self._name(most)} {mean[most]:.2f}, least {self._name(least)} {mean[least]:.2f}",
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per head: ``stack``, ``layer``, ``head``, ``lookback`` (mean over tokens), ``std``."""
        return pd.DataFrame(
            {
                "stack": [site.stack for site, _ in self.heads],
                "layer": [site.layer for site, _ in self.heads],
                "head": [head for _, head in self.heads],
                "lookback": np.nanmean(self.ratios, axis=1),
                "std": np.nanstd(self.ratios, axis=1),
            }
        )

    def _name(self, number: int) -> str:
        site, head = self.heads[number]
        return f"L{site.layer}H{head}"


def lookback(record: CapturedAttention, start: int | None = None) -> Lookback:
    """The lookback ratio of every self-attention head of a decoder.

    Args:
        start: position of the first written token; by default known from ``analyzer.generate``.

    Raises:
        InputError: the record does not say where writing began, or nothing was given or written.
    """
    if start is None:
        noted = record.notes.get("prompt_tokens")
        if noted is None:
            raise InputError(
                "This record is of a given text; give start=…, the position of the first written token, or record "
                "with analyzer.generate(prompt)."
            )
        start = int(noted)
    entries = [entry for entry in record.entries if entry.site.kind == "self" and entry.site.stack == "decoder"]
    if not entries:
        raise InputError("The lookback ratio is of a decoder's self-attention, and this record has none.")
    size = len(entries[0].queries)
    if type(start) is not int or not 0 < start < size:
        raise InputError(
            f"start={start!r} must lie between 1 and {size - 1}, so that there are given and written tokens."
        )
    given = torch.arange(size) < start
    found = []
    for entry in entries:
        device = entry.weights.empty().device
        wanted = [GroupWeight(_GIVEN), GroupWeight(_WRITTEN)]
        groups = {_GIVEN: given[None].to(device), _WRITTEN: ~given[None].to(device)}
        sums = entry.weights.reduce(wanted, diagonal=entry.diagonal, groups=groups)
        on_given, on_written = (sums[each][0, :, start:].double().cpu().numpy() for each in wanted)
        seen = entry.weights.visibility.to("cpu")
        visible = _visible(seen, given, start)
        means = [weight / np.maximum(count, 1) for weight, count in zip((on_given, on_written), visible, strict=True)]
        total = means[0] + means[1]
        found.append(np.where(total > 0, means[0] / np.where(total > 0, total, 1), np.nan))
    heads = tuple((entry.site, head) for entry in entries for head in range(entry.site.heads))
    pieces = entries[0].queries.pieces[start:]
    return Lookback(np.concatenate(found), pieces, heads, start, record.model_name)


def _visible(seen: Visibility, given: torch.Tensor, start: int) -> tuple[Floats, Floats]:
    """How many given and how many written keys each written query sees, ``[head or 1, query]``."""
    size = len(given)
    counts: list[list[Floats]] = [[], []]
    for query in range(start, size):
        tile = seen.seen(slice(query, query + 1), slice(0, size), slice(0, 1), torch.device("cpu"))
        shown = torch.ones(1, size, dtype=torch.bool) if tile is None else tile[0, :, 0]
        for column, members in zip(counts, (given, ~given), strict=True):
            column.append((shown & members).sum(-1).double().numpy())
    return np.stack(counts[0], -1), np.stack(counts[1], -1)
