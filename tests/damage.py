"""Damage as disks and people do it: bits that flip, files that are cut, a disk that is full."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager


def damaged_copies(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies that are never the same as the whole: three in four with one flipped bit, the others cut."""
    chance = random.Random(seed)
    for number in range(count):
        if number % 4 == 3:
            yield content[: chance.randrange(len(content))]
            continue
        altered = bytearray(content)
        altered[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        yield bytes(altered)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow past ``size`` bytes: writing fails inside the operating system, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
