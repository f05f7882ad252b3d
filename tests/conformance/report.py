"""``docs/coverage.md`` from the sweep's results."""
