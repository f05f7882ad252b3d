"""How long work tells how far it is, and how it is ended: by what is raised from the function that it tells."""

from __future__ import annotations

from collections.abc import Callable

#: Called with how much is done and how much there is.
OnProgress = Callable[[int, int], object]


class ProgressCounter:
    """Counts what is done of a known number of steps, and tells whoever asked."""

    def __init__(self, total: int, tell: OnProgress | None) -> None:
        self.done, self.total, self._tell = 0, total, tell
        self.advance(0)

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self.done += steps
        if self._tell is not None:
            self._tell(self.done, self.total)

    def within(self, steps: int) -> OnProgress:
        """What a part of the work, which has so many steps of its own, is to tell."""
        before = self.done

        def tell(done: int, total: int) -> None:
            self.advance(before + steps * done // total - self.done)

        return tell
