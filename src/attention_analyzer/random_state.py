"""torch's generators, put back to where they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from attention_analyzer.cleanup import undone
from attention_analyzer.locks import ForkSafeLock

# The generators are the process's: of two threads that save and restore them at once, one would restore the other's.
_lock = ForkSafeLock()


@contextmanager
def restored_draws(devices: Iterable[torch.device] = (), seed: int | None = None) -> Iterator[None]:
    """Random numbers that are drawn inside do not change those drawn afterwards; one thread at a time.

    Args:
        devices: CUDA devices whose generators are put back, besides the CPU's.
        seed: where the generators start inside; by default where they are.
    """
    with _lock():
        states = {device: torch.cuda.get_rng_state(device) for device in devices}
        states[torch.device("cpu")] = torch.get_rng_state()
        with undone(lambda: _restore(states)):
            if seed is not None:
                torch.manual_seed(seed)
            yield


def _restore(states: Mapping[torch.device, Tensor]) -> None:
    for device, state in states.items():
        if device.type == "cpu":
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
