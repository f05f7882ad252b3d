"""Hooks on modules: only for the forwards of the thread that set them, and removed when their block ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from typing import Any, Protocol

from attention_analyzer.cleanup import undone


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


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, which does nothing in forwards that other threads run through the same modules meanwhile."""
    thread = get_ident()

    @wraps(hook)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs) if get_ident() == thread else None

    return guarded
