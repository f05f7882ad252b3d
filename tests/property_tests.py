"""Settings of property tests: some dozens of cases in ``make test``, many times as many in ``make properties``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

#: How many times as many cases as usual.
TIMES = int(os.environ.get("PROPERTY_TIMES", "1"))


def cases(count: int) -> settings:
    """A property that is tried with ``count`` cases, or with many times as many."""
    return settings(max_examples=count * TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
