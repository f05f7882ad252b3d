"""torch's stack of dispatch modes, set so that an interrupt between any two of its steps does no harm.

torch's own way to set modes aside is a generator, which puts them back when it is collected: after an interrupt that
can be long after the block around it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils._python_dispatch import _get_current_dispatch_mode_stack, _pop_mode, _push_mode


def set_modes(modes: Sequence[Any]) -> None:
    """Make these the modes of this thread, the innermost last."""
    now = _get_current_dispatch_mode_stack()
    if len(now) == len(modes) and all(one is other for one, other in zip(now, modes, strict=True)):
        return
    for _ in now:
        _pop_mode()
    for mode in modes:
        _push_mode(mode)


class NoModes:
    """A block without any dispatch mode."""

    def __init__(self) -> None:
        self._before: list[Any] = []

    def __enter__(self) -> None:
        self._before = _get_current_dispatch_mode_stack()
        set_modes(())

    def __exit__(self, *_: object) -> None:
        set_modes(self._before)
