"""When a tracker looks: every so many steps, at steps that grow by a factor, or by the clock."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from attention_analyzer.deprecation import renamed_names
from attention_analyzer.errors import InputError


class Schedule(ABC):
    """Says when a moment is due.

    It is asked with the step of the last moment, so it needs no memory of its own, survives a resumed training, and
    a moment that was put off stays due.
    """

    @abstractmethod
    def is_due(self, step: int, last: int | None, seconds: float) -> bool:
        """Whether a moment is due at ``step``.

        Args:
            step: optimizer steps done; 0 is the untrained model.
            last: the step of the last moment, None if there was none.
            seconds: since the last moment.
        """


@dataclass(frozen=True)
class EveryNSteps(Schedule):
    """At every multiple of ``steps``."""

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"A schedule needs at least one step between snapshots, not {self.steps}.")

    def is_due(self, step: int, last: int | None, seconds: float) -> bool:
        return last is None or step // self.steps > last // self.steps


@dataclass(frozen=True)
class LogSpaced(Schedule):
    """At steps that grow by a constant factor, ``per_decade`` of them for each factor of ten; and at step 0.

    What heads do changes most at the beginning, so that equal steps on a logarithmic axis see each phase equally well.
    """

    per_decade: int = 10

    def __post_init__(self) -> None:
        if self.per_decade < 1:
            raise InputError(f"A schedule needs at least one snapshot per decade of steps, not {self.per_decade}.")

    def is_due(self, step: int, last: int | None, seconds: float) -> bool:
        if last is None:
            return True
        if last == 0:
            return step >= 1
        # The tiny addition keeps exact powers of ten on their own side of rounding.
        return step > last and self._number(step) > self._number(last)

    def _number(self, step: int) -> int:
        return math.floor(self.per_decade * math.log10(step) + 1e-9)


@dataclass(frozen=True)
class EveryNSeconds(Schedule):
    """When so many seconds have gone since the last moment."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"The time between snapshots must be above zero seconds, not {self.seconds}.")

    def is_due(self, step: int, last: int | None, seconds: float) -> bool:
        return last is None or (step > last and seconds >= self.seconds)


class Budget:
    """Keeps what tracking costs below a share of the time that training takes.

    A moment that is due waits until, by the cost of the last one, it and the final moment fit. The first moment and the
    final one are always taken, because without them a history says nothing; so the share is kept by every training that
    takes longer than these two divided by it.
    """

    def __init__(self, share: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        if share is not None and not 0 < share <= 1:
            raise InputError(f"The tracker's maximum overhead must be in (0, 1], or None for no limit; not {share}.")
        self.share, self.clock = share, clock
        self.began: float | None = None
        self.spent = 0.0
        self.last_cost: float | None = None

    def start(self) -> None:
        """The training begins now."""
        self.began = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the training began."""
        return 0.0 if self.began is None else self.clock() - self.began

    def allows(self) -> bool:
        """Whether another moment fits now."""
        if self.share is None or self.last_cost is None:
            return True
        return self.spent + 2 * self.last_cost <= self.share * self.elapsed

    def charge(self, seconds: float, *, is_moment: bool = True) -> None:
        """Enter the cost of a moment, or of what is done once to prepare them."""
        self.spent += seconds
        if is_moment:
            self.last_cost = seconds


__getattr__ = renamed_names(__name__, {"EveryStep": "EveryNSteps", "Timed": "EveryNSeconds"})
