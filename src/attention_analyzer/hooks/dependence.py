"""Which tensors were computed from the output of which attention call.

Calls of one module that do not need each other's outputs are parts of one attention (heads or slices of queries in a
loop); one that needs the output of the call before is a further layer. Tensors are followed by their storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from attention_analyzer.hooks.softmax_tracker import storage_key

#: Entries after which those whose storage is gone are dropped.
_CROWDED = 512


@dataclass
class Dependence:
    """The last attention call that each tensor of a forward was computed from."""

    _latest: dict[int, tuple[StorageWeakRef, int]] = field(default_factory=dict)
    _crowded: int = _CROWDED

    def mark(self, output: Tensor, call: int) -> None:
        """A call has this output."""
        key = storage_key(output)
        if key is not None:
            self._latest[key] = (StorageWeakRef(output.untyped_storage()), call)

    def of(self, values: Iterable[Any]) -> int:
        """The last call that any of the tensors depends on; -1 for none."""
        latest = -1
        for tensor in _tensors(values):
            known = self._latest.get(storage_key(tensor) or 0)
            if known is not None and known[1] > latest and not known[0].expired():
                latest = known[1]
        return latest

    def follow(self, args: Iterable[Any], result: Any) -> None:
        """An operation ran."""
        if not self._latest:
            return
        latest = self.of(args)
        if latest < 0:
            return
        for tensor in _tensors((result,)):
            self.mark(tensor, latest)
        if len(self._latest) > self._crowded:
            self._latest = {key: known for key, known in self._latest.items() if not known[0].expired()}
            self._crowded = _CROWDED + 2 * len(self._latest)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
