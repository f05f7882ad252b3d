"""Whole attention matrices, for scripts that want them as a model would have returned them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from torch import Tensor

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import TooLongError
from attention_analyzer.site import Site

#: Bytes that matrices may take together unless the caller says otherwise.
LIMIT = 2 * 1024**3


@dataclass(frozen=True)
class AttentionMatrices(Sequence[Tensor]):
    """The matrices of every layer, ``[batch=1, head, query, key]`` each, in float32.

    As a sequence it holds the layers of the main stack (an encoder–decoder's encoder); :meth:`as_dict` has every site,
    cross-attention included.
    """

    sites: tuple[Site, ...]
    tensors: tuple[Tensor, ...]

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        return self._main[index]

    def __len__(self) -> int:
        return len(self._main)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._main)

    def __repr__(self) -> str:
        shape = tuple(self.tensors[0].shape)
        return f"<AttentionMatrices: {len(self.tensors)} sites, the first of shape {shape}>"

    def as_dict(self) -> dict[str, Tensor]:
        """Every site's tensor by the site's name, such as ``encoder.self.3``."""
        return {site.name: tensor for site, tensor in zip(self.sites, self.tensors, strict=True)}

    @property
    def _main(self) -> tuple[Tensor, ...]:
        first = self.sites[0]
        pairs = zip(self.sites, self.tensors, strict=True)
        return tuple(tensor for site, tensor in pairs if (site.stack, site.kind) == (first.stack, first.kind))


def matrices_of(record: CapturedAttention, limit: int = LIMIT) -> AttentionMatrices:
    """All matrices of a record.

    Args:
        limit: bytes that they may take together.

    Raises:
        TooLongError: they would take more.
    """
    needed = sum(4 * heads * queries * keys for heads, queries, keys in (e.weights.shape for e in record.entries))
    if needed > limit:
        raise TooLongError(
            f"The matrices of {len(record.tokens)} tokens in {len(record)} sites take {needed / 1e9:.1f} GB, more than "
            f"the limit of {limit / 1e9:.1f} GB; ask for tiles with record.weights(layer, head, queries=slice(…)), for "
            "statistics with record.heads(), or raise max_bytes."
        )
    return AttentionMatrices(record.sites, tuple(entry.weights.full().float()[None] for entry in record.entries))
