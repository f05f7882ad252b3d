"""The benchmark: what the analysis costs beside the plain model, and beside other tools. ``python -m benchmarks``.

Results are compared before anything is timed. Each measurement runs in a process of its own, so that its peak memory is
its own; times that are divided by one another are taken in turns within one process.
"""
