"""Undoing what a block did, also where Ctrl-C cuts the undoing short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
