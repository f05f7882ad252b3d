"""Sounds from files, bytes and arrays: one channel, at the rate that the model's processor asks for."""

from __future__ import annotations

import io
import os
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_analyzer.errors import InputError, MissingDependencyError

#: Samples that a sound may have: two hours at 16 kHz.
MOST_SAMPLES = 2 * 3600 * 16_000
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 384_000


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound as the processor gets it.

    Attributes:
        samples: float32 ``[sample]``, one channel.
        rate: samples per second.
        name: of the file, or "".
    """

    samples: np.ndarray
    rate: int
    name: str = ""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def resampled(self, rate: int) -> Sound:
        """The same sound at another rate (polyphase filter, as scipy has it)."""
        if rate == self.rate:
            return self
        from scipy.signal import resample_poly

        shared = int(np.gcd(rate, self.rate))
        samples = resample_poly(self.samples, rate // shared, self.rate // shared)
        return Sound(samples.astype(np.float32), rate, self.name)


def read_sound(source: Any, sampling_rate: int | None = None) -> Sound:
    """The sound in a file, in bytes, in an open file or in an array; several channels become their mean.

    Args:
        source: a path, bytes, a file opened in binary mode, samples ``[sample]``, ``[channel, sample]`` or
            ``[sample, channel]``, a pair of samples and their rate, or a mapping with ``array`` and ``sampling_rate``
            as datasets have it.
        sampling_rate: of samples that come without one.

    Raises:
        InputError: this is no sound, it is broken, empty or silent, too long, or its rate is not known.
        MissingDependencyError: the file is no WAV of whole numbers, and soundfile is not installed.
    """
    if isinstance(source, Sound):
        return source
    if isinstance(source, dict) and "array" in source:
        source, sampling_rate = source["array"], source.get("sampling_rate", sampling_rate)
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], (int, np.integer)):
        source, sampling_rate = source[0], int(source[1])
    name = ""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name = path.name
        if not path.is_file():
            raise InputError(f"There is no sound file {path}.")
        with path.open("rb") as file:
            samples, rate = _decoded(file, name)
    elif isinstance(source, (bytes, bytearray)):
        samples, rate = _decoded(io.BytesIO(source), "The sound")
    elif hasattr(source, "read"):
        name = Path(str(getattr(source, "name", ""))).name
        samples, rate = _decoded(source, name or "The sound")
    else:
        if not hasattr(source, "__array__") and not isinstance(source, list):
            raise InputError(
                f"A sound is a path, bytes, an open file or an array, but {type(source).__name__} was given."
            )
        if sampling_rate is None:
            raise InputError("The samples come without a rate; give audio=(samples, rate).")
        samples, rate = np.asarray(source), int(sampling_rate)
    return Sound(_checked(samples, rate, name or "The sound"), rate, name)


def _checked(samples: np.ndarray, rate: int, name: str) -> np.ndarray:
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise InputError(f"{name} has {rate} samples per second; from {_LOWEST_RATE} to {_HIGHEST_RATE} are expected.")
    if samples.ndim not in (1, 2) or not samples.size:
        raise InputError(f"{name} has samples of the shape {samples.shape}; [sample] or [channel, sample] is expected.")
    if samples.dtype == np.uint8:
        samples = samples.astype(np.float32) / 128 - 1
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min or -1)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"{name} holds {samples.dtype} values, which are no samples of a sound.")
    if samples.ndim == 2:
        samples = samples.mean(int(np.argmin(samples.shape)))
    if len(samples) > MOST_SAMPLES:
        raise InputError(f"{name} has {len(samples):,} samples, more than {MOST_SAMPLES:,}; cut it first.")
    if not np.isfinite(samples).all():
        raise InputError(f"{name} holds NaN or infinite samples.")
    if not np.any(samples):
        raise InputError(f"{name} is silent: every sample is zero.")
    return np.ascontiguousarray(samples, dtype=np.float32)


def _decoded(file: Any, name: str) -> tuple[np.ndarray, int]:
    """Samples and rate of an open file: WAV of whole numbers by the standard library, everything else by soundfile."""
    start = file.tell()
    try:
        with wave.open(file) as opened:
            width, channels, rate = opened.getsampwidth(), opened.getnchannels(), opened.getframerate()
            if opened.getnframes() > MOST_SAMPLES:
                raise InputError(f"{name} has {opened.getnframes():,} samples, more than {MOST_SAMPLES:,}.")
            if width in (1, 2, 4):
                data = np.frombuffer(opened.readframes(opened.getnframes()), {1: "u1", 2: "<i2", 4: "<i4"}[width])
                return data[: len(data) // channels * channels].reshape(-1, channels), rate
    except (wave.Error, EOFError):
        pass
    file.seek(start)
    try:
        import soundfile  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except (ImportError, OSError):
        raise MissingDependencyError("soundfile", "audio", f"Reading {name}") from None
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{name} is no sound that can be read: {reason}.") from None
    return samples, int(rate)
