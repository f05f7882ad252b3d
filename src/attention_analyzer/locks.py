"""Locks of state that a whole process shares."""

from __future__ import annotations

import os
from threading import RLock
from typing import Any


class ForkSafeLock:
    """A reentrant lock: ``with lock():``.

    A process that was forked while another thread held it finds it free, for that thread is not in the child.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def __call__(self) -> Any:
        return self._lock

    def _renew(self) -> None:
        self._lock = RLock()
