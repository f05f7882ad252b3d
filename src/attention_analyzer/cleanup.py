"""Undoing what a block did, also where Ctrl-C cuts the undoing short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Calls ``undo`` when the block ends, in whatever way: twice, so that an interrupt of the first call does no harm.

    What is to be undone is done inside the block, for an interrupt may come before any line. So ``undo`` must do
    nothing where there is nothing to undo.
    """
    try:
        try:
            yield
        finally:
            undo()
    finally:
        undo()


class _Handle(Protocol):
    def remove(self) -> None: ...


@contextmanager
def hooks_removed() -> Iterator[list[_Handle]]:
    """A list for handles of hooks, which are removed when the block ends."""
    handles: list[_Handle] = []

    def undo() -> None:
        for handle in handles:
            handle.remove()

    with undone(undo):
        yield handles
