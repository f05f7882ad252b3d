"""Which keys each query may look at, in one form for every backend.

A model says it in many ways (a boolean mask, an additive one, a flag, a window size, nothing at all). Here it is a band
around the diagonal, keys that nobody may see, segments that may not see each other and, only when nothing simpler
says it, a dense mask. A band costs two numbers, so a record of a causal model stays linear in the text.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

_ROWS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Visibility:
    """The visible cells of one attention call.

    Attributes:
        queries, keys: sizes of the two axes.
        lower, upper: query ``i`` sees key ``j`` only if ``lower <= j - i <= upper``; ``None`` leaves a side open.
        key_seen: ``[batch, key]``, False for keys that no query may see (padding).
        segments: segment numbers ``([batch, query], [batch, key])``; a query sees only keys of its own segment.
        mask: ``[batch or 1, head or 1, query, key]``, True where the query sees the key; whatever the rest cannot say.
    """

    queries: int
    keys: int
    lower: int | None = None
    upper: int | None = None
    key_seen: Tensor | None = None
    segments: tuple[Tensor, Tensor] | None = None
    mask: Tensor | None = None

    @property
    def is_everything(self) -> bool:
        """Whether every query sees every key."""
        return self.is_band and self.lower is None and self.upper is None

    @property
    def is_band(self) -> bool:
        """Whether the band alone says it all, so that batch rows and heads do not differ."""
        return self.key_seen is None and self.segments is None and self.mask is None

    @property
    def identity(self) -> Hashable:
        """Equal for two that say the same with the same tensors, as the layers of one forward do.

        Tensors are told apart by their ``id``, so it means something only while they live.
        """
        parts = (self.key_seen, self.mask, *(self.segments or ()))
        return self.queries, self.keys, self.lower, self.upper, *map(id, parts)

    @property
    def differs_by_head(self) -> bool:
        return self.mask is not None and self.mask.shape[1] > 1

    def key_range(self, rows: slice) -> slice:
        """The smallest run of keys that holds all keys which the queries ``rows`` can see (never empty)."""
        start = 0 if self.lower is None else min(max(rows.start + self.lower, 0), self.keys - 1)
        stop = self.keys if self.upper is None else max(min(rows.stop + self.upper, self.keys), 1)
        return slice(start, max(stop, start + 1))

    def seen_by_all(self, rows: slice, keys: slice) -> int:
        """How many leading keys of the run ``keys`` every one of the queries ``rows`` is sure to see."""
        if not self.is_band or self.lower is not None or self.upper is None:
            return 0
        return min(max(rows.start + self.upper + 1 - keys.start, 0), keys.stop - keys.start)

    def seen(self, rows: slice, keys: slice, batch: slice, device: torch.device) -> Tensor | None:
        """Which cells of a tile are visible: bool ``[batch or 1, head or 1, row, key]``, or None for all of them."""
        seen = None
        if self._band_cuts(rows, keys):
            shift = keys.start - rows.start
            lower = None if self.lower is None else self.lower - shift
            upper = None if self.upper is None else self.upper - shift
            seen = _band(lower, upper, rows.stop - rows.start, keys.stop - keys.start, device)[None, None]
        if self.key_seen is not None:
            seen = _both(seen, self.key_seen[batch, None, None, keys].to(device))
        if self.segments is not None:
            of_query, of_key = (segment[batch].to(device) for segment in self.segments)
            seen = _both(seen, of_query[:, None, rows, None] == of_key[:, None, None, keys])
        if self.mask is not None:
            mask = self.mask if self.mask.shape[0] == 1 else self.mask[batch]
            seen = _both(seen, mask[:, :, rows, keys].to(device))
        return seen

    def counts(self, device: torch.device) -> Tensor:
        """How many keys each query sees: int64 ``[batch or 1, head or 1, query]``; counted once."""
        known: dict[torch.device, Tensor] = self.__dict__.setdefault("_counts", {})
        if device not in known:
            known[device] = self._count(device)
        return known[device]

    def _count(self, device: torch.device) -> Tensor:
        if self.segments is None and self.mask is None:
            rows = torch.arange(self.queries, device=device)
            first = torch.zeros_like(rows) if self.lower is None else (rows + self.lower).clamp(0, self.keys)
            last = rows + self.upper + 1 if self.upper is not None else torch.full_like(rows, self.keys)
            last = last.clamp(0, self.keys)
            if self.key_seen is None:
                return (last - first).clamp(min=0)[None, None]
            seen_before = torch.nn.functional.pad(self.key_seen.to(device).long().cumsum(-1), (1, 0))
            return (seen_before[:, last] - seen_before[:, first]).clamp(min=0)[:, None]
        step = max(1, 4_000_000 // self.keys)
        parts = []
        for start in range(0, self.queries, step):
            block = slice(start, min(start + step, self.queries))
            seen = self.seen(block, slice(0, self.keys), slice(None), device)
            if seen is None:
                seen = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
            parts.append(seen.expand(*seen.shape[:2], block.stop - block.start, self.keys).sum(-1))
        return torch.cat(parts, dim=-1)

    def select(self, batch: int, queries: slice, keys: slice) -> Visibility:
        """The visibility of one batch row, cut to runs of queries and keys."""
        shift = queries.start - keys.start
        return Visibility(
            queries=queries.stop - queries.start,
            keys=keys.stop - keys.start,
            lower=None if self.lower is None else self.lower + shift,
            upper=None if self.upper is None else self.upper + shift,
            key_seen=_unless_all(None if self.key_seen is None else self.key_seen[batch : batch + 1, keys]),
            segments=None
            if self.segments is None
            else (self.segments[0][batch : batch + 1, queries], self.segments[1][batch : batch + 1, keys]),
            mask=_unless_all(
                None if self.mask is None else self.mask[min(batch, self.mask.shape[0] - 1)][None, :, queries, keys]
            ),
        )

    def for_texts(self, count: int) -> Visibility:
        """The same for so many texts, where one row of hidden keys stands for all."""
        if self.key_seen is None or self.key_seen.shape[0] == count:
            return self
        return replace(self, key_seen=self.key_seen.expand(count, -1).contiguous())

    def of_rows(self, order: Tensor) -> Visibility:
        """The visibility of other batch rows, in this order."""

        def pick(values: Tensor) -> Tensor:
            return values if values.shape[0] == 1 else values.index_select(0, order.to(values.device))

        return replace(
            self,
            key_seen=None if self.key_seen is None else pick(self.key_seen),
            segments=None if self.segments is None else (pick(self.segments[0]), pick(self.segments[1])),
            mask=None if self.mask is None else pick(self.mask),
        )

    def to(self, device: torch.device | str) -> Visibility:
        return replace(
            self,
            key_seen=None if self.key_seen is None else self.key_seen.to(device),
            segments=None if self.segments is None else (self.segments[0].to(device), self.segments[1].to(device)),
            mask=None if self.mask is None else self.mask.to(device),
        )

    def _band_cuts(self, rows: slice, keys: slice) -> bool:
        below = self.lower is not None and keys.start - (rows.stop - 1) < self.lower
        above = self.upper is not None and keys.stop - 1 - rows.start > self.upper
        return below or above


def visibility_of(seen: Tensor, queries: int, keys: int) -> Visibility:
    """The simplest visibility that says exactly what ``seen`` does; dense only if nothing simpler does.

    Args:
        seen: bool, True where a query sees a key; broadcasts to ``[batch, head, query, key]``.
    """
    if bool(seen.all()):
        return Visibility(queries, keys)
    if not bool(seen.any()):
        return Visibility(queries, keys, key_seen=seen.new_zeros(seen.shape[0], keys))
    if seen.shape[1] == 1 and seen.shape[2] == 1:
        return Visibility(queries, keys, key_seen=seen[:, 0, 0].expand(-1, keys).clone())
    seen = seen.expand(-1, -1, queries, keys)
    if seen.shape[1] == 1:
        of_text = seen[:, 0]
        ever = of_text.any(1)
        key_seen = None if bool(ever.all()) else ever
        low, high = _offsets(of_text)
        for lower, upper in ((None, None), (None, high), (low, high), (low, None)):
            candidate = Visibility(queries, keys, lower=lower, upper=upper, key_seen=key_seen)
            if _says(candidate, seen):
                return candidate
    return Visibility(queries, keys, mask=seen.clone())


def _offsets(seen: Tensor) -> tuple[int, int]:
    """The smallest and largest ``key - query`` of a visible cell of ``[batch, query, key]``."""
    some = seen.any(0)
    keys = some.shape[1]
    rows = torch.arange(some.shape[0], device=some.device)
    as_number = some.to(torch.uint8)
    first = as_number.argmax(1)
    last = keys - 1 - as_number.flip(1).argmax(1)
    sees = some.any(1)
    return int((first - rows)[sees].min()), int((last - rows)[sees].max())


def _says(candidate: Visibility, seen: Tensor) -> bool:
    """Whether a candidate describes exactly these cells, compared in runs of rows."""
    step = max(1, _ROWS_AT_ONCE // candidate.keys)
    for start in range(0, candidate.queries, step):
        rows = slice(start, min(start + step, candidate.queries))
        told = candidate.seen(rows, slice(0, candidate.keys), slice(None), seen.device)
        actual = seen[:, :, rows]
        if not (bool(actual.all()) if told is None else torch.equal(told.expand_as(actual), actual)):
            return False
    return True


@lru_cache(maxsize=16)
def _band(lower: int | None, upper: int | None, rows: int, keys: int, device: torch.device) -> Tensor:
    """Cells of a tile inside a band; kept, because neighboring blocks of a pass ask for the very same tile."""
    offset = torch.arange(keys, device=device) - torch.arange(rows, device=device).unsqueeze(-1)
    inside = torch.ones_like(offset, dtype=torch.bool)
    if lower is not None:
        inside &= offset >= lower
    if upper is not None:
        inside &= offset <= upper
    return inside


def _both(left: Tensor | None, right: Tensor) -> Tensor:
    return right if left is None else left & right


def _unless_all(seen: Tensor | None) -> Tensor | None:
    """A mask that hides nothing is no mask."""
    return None if seen is None or bool(seen.all()) else seen
