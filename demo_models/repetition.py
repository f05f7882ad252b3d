"""Sequences that repeat themselves: what induction heads are trained and measured on."""

from __future__ import annotations

import numpy as np

SPECIAL_TOKENS = 2  # `<s>` and `</s>` open the decoder's vocabulary and are never drawn


def repeated_random(generator: np.random.Generator, vocabulary: int, length: int) -> tuple[np.ndarray, int]:
    """A block of uniformly random tokens, again and again, and the length of the block."""
    block = int(generator.integers(8, min(128, length // 2)))
    tokens = generator.integers(SPECIAL_TOKENS, vocabulary, size=block)
    return np.resize(tokens, length), block


def repeated_span(generator: np.random.Generator, text: np.ndarray) -> np.ndarray:
    """`text` with one of its spans repeated somewhere later, the rest moved on."""
    span = int(generator.integers(8, len(text) // 3))
    start = int(generator.integers(0, len(text) - 2 * span))
    end = start + span
    again = int(generator.integers(end, len(text) - span + 1))
    return np.concatenate([text[:again], text[start:end], text[again:]])[: len(text)]
