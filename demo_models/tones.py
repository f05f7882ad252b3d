"""The listener's task: the tones of a telephone keypad become digits, and each digit has a known time.

Each key sounds as two tones at once, one for its row and one for its column. The tones differ in length, the silences
between them, too, so that only the sound tells when a digit starts and ends.

Sounds are split by the digits: a held-out number is never dialed in training.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

import numpy as np

#: Samples per second, and the seconds that the model reads.
RATE = 16_000
SECONDS = 4
#: Hertz of a keypad's rows and columns.
ROWS = (697, 770, 852, 941)
COLUMNS = (1209, 1336, 1477)
KEYS = ("123", "456", "789", "*0#")
#: Seconds that a tone and the silence after it last.
TONE = (0.12, 0.36)
SILENCE = (0.06, 0.30)
HELD_OUT_EVERY = 10
MOST_DIGITS = 8
#: Seconds in which a tone rises and falls.
_EDGE = 0.005


@dataclass(frozen=True)
class Example:
    """One sound and its digits.

    Attributes:
        sound: float32 ``[sample]``, at ``RATE`` samples per second.
        digits: one character each.
        times: seconds at which each digit starts and ends.
    """

    sound: np.ndarray
    digits: str
    times: tuple[tuple[float, float], ...]


def example(generator: random.Random, *, held_out: bool) -> Example:
    """A random number of one to eight digits, dialed with random lengths, loudness and noise."""
    while True:
        digits = "".join(generator.choice("0123456789") for _ in range(generator.randint(1, MOST_DIGITS)))
        # Numbers of one or two digits are too few to hold any out.
        out = len(digits) > 2 and zlib.crc32(digits.encode()) % HELD_OUT_EVERY == 0
        if out == held_out:
            break
    times = _times(generator, len(digits))
    length = int((times[-1][1] + generator.uniform(0.05, 0.3)) * RATE)
    noise = np.random.default_rng(generator.randrange(2**32))
    sound = noise.normal(0, generator.uniform(0.001, 0.01), min(length, SECONDS * RATE))
    loudness = generator.uniform(0.1, 0.4)
    for digit, (start, end) in zip(digits, times, strict=True):
        first, last = int(start * RATE), int(end * RATE)
        sound[first:last] += loudness * generator.uniform(0.8, 1.2) * _tone(digit, last - first, generator)
    return Example(sound.astype(np.float32), digits, times)


def text_of(digits: str) -> str:
    """What the model writes: each digit a word with the space before it, as in Whisper's transcripts."""
    return "".join(f" {digit}" for digit in digits)


def _times(generator: random.Random, count: int) -> tuple[tuple[float, float], ...]:
    while True:
        times = []
        now = generator.uniform(0.05, 0.4)
        for _ in range(count):
            end = now + generator.uniform(*TONE)
            times.append((now, end))
            now = end + generator.uniform(*SILENCE)
        if times[-1][1] < SECONDS - 0.05:
            return tuple(times)


def _tone(digit: str, samples: int, generator: random.Random) -> np.ndarray:
    row = next(number for number, keys in enumerate(KEYS) if digit in keys)
    column = KEYS[row].index(digit)
    seconds = np.arange(samples) / RATE
    waves = [np.sin(2 * np.pi * (hertz * seconds + generator.random())) for hertz in (ROWS[row], COLUMNS[column])]
    edge = np.minimum(1, np.minimum(seconds, seconds[::-1]) / _EDGE)
    return edge * sum(waves) / 2
