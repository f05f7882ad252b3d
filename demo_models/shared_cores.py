"""How many threads to use on a machine that other programs use too.

Two threads are nearly twice as fast as one on idle cores. But they wait for each other several
hundred times per step, so as soon as another program takes one of the cores, a polite (niced)
training falls to a small fraction of one thread's speed. A step that takes far longer than the
usual is the sign; the training then goes on with one thread and tries two again a little later.
"""

from __future__ import annotations

import os
import time

import torch

MOST_THREADS = min(2, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
SLOW = 2.5
SECONDS_BETWEEN_TRIALS = 45.0


class SharedCores:
    """Sets torch's thread count from how long the steps take."""

    def __init__(self) -> None:
        self._usual: float | None = None
        self._again_at = 0.0
        torch.set_num_threads(MOST_THREADS)

    def after_step(self, seconds: float) -> None:
        """Take note of one step's duration and choose the threads of the next."""
        if torch.get_num_threads() == 1:
            if time.monotonic() > self._again_at:
                torch.set_num_threads(MOST_THREADS)
            return
        if self._usual is not None and seconds > SLOW * self._usual:
            self._again_at = time.monotonic() + SECONDS_BETWEEN_TRIALS
            torch.set_num_threads(1)
            return
        # Nearly the fastest step so far; it may drift up, should the work itself grow.
        self._usual = seconds if self._usual is None else min(seconds, 1.02 * self._usual)
