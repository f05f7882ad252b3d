"""Attention weights in one byte each: fine where a reader compares numbers, coarse where only the color matters.

Weights of 0.1 and more are kept to 1 % of themselves, weights down to ``FLAT`` to 1e-3 of the whole, and below that to
9 %, so that a logarithmic color scale still works at 1e-5. Code 0 is zero (hidden, or smaller than anything kept).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: Widest relative steps between two codes, above 0.1 and below FLAT; between them the step is ABSOLUTE.
FINE, COARSE, ABSOLUTE = 0.0188, 0.18, 0.00188
FLAT = ABSOLUTE / COARSE
LEVELS = 256


@lru_cache(maxsize=1)
def codebook() -> np.ndarray:
    """float32 ``[256]``: the weight that each code stands for, rising from 0 to 1."""
    levels = [1.0]
    while len(levels) < LEVELS - 1:
        last = levels[-1]
        step = max(FINE * last, ABSOLUTE) if last > FLAT else COARSE * last
        levels.append(last - step)
    return np.array([0.0, *reversed(levels)], dtype=np.float32)


def encode(weights: np.ndarray) -> np.ndarray:
    """uint8 codes of weights in [0, 1], each the nearest level."""
    levels = codebook()
    middles = (levels[1:] + levels[:-1]) / 2
    # A table over the 65,536 float16 values replaces a binary search per weight: eight times faster, and float16's own
    # rounding (0.05 %) is far below a step.
    table = _half_table(middles.tobytes())
    return table[np.ascontiguousarray(weights, dtype=np.float16).view(np.uint16)]


@lru_cache(maxsize=1)
def _half_table(middles: bytes) -> np.ndarray:
    values = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16).astype(np.float32)
    return np.searchsorted(np.frombuffer(middles, np.float32), np.nan_to_num(values, nan=0.0)).astype(np.uint8)
