"""A limit on the memory of the whole process, for a program that does one thing and ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Addresses that threads and allocators reserve without using them, in megabytes: once, and for each core.
_RESERVED = 1024
_RESERVED_PER_CORE = 160


@contextmanager
def bounded_memory(megabytes: int) -> Iterator[None]:
    """Let the process take so much memory more; beyond, allocations fail, in every thread.

    Only Linux can do so; elsewhere nothing is bounded.
    """
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + ((megabytes + _RESERVED + _RESERVED_PER_CORE * (os.cpu_count() or 1)) << 20)
    ceilings = [limit for limit in (before, most) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(wanted, *ceilings) if ceilings else wanted, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
