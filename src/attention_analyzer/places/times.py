"""Which seconds of a sound each token shows: the sound is changed up to a moment, or from it on.

Changed up to a moment, those tokens differ that read anything before it; changed from it on, those that read anything
after it. Where each token begins and ends to read is fitted to a regular step, and the fit is checked at every moment.
A changed stretch is the same stretch backward, so that what a processor takes over the whole sound, its mean and its
energy, stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from attention_analyzer.places.probe import NotReachedError, Probe

#: From samples to the processor's output.
ReadSound = Callable[[np.ndarray], Tensor]
_MOMENTS = 24
#: Tokens by which the fit may be wrong anywhere.
_OFF = 1.0
_OFF_OF_SHARES = 4.0
#: Steps that count as whole numbers of samples, and as the same.
_WHOLE, _NEAR = 0.002, 0.1
#: Changes that count, as shares of the largest. Some models normalize over the whole sound, so that everything changes
#: a little wherever the sound does.
_SHARES = (0.0, 0.1, 0.3)


def find_times(probe: Probe, read: ReadSound, samples: int, rate: int) -> list[tuple[float, float]] | None:
    """Start and end in seconds of every token that the probed module reads; None if it cannot be verified.

    Args:
        samples: how many the sound has; ``rate``: how many per second.
    """
    generator = np.random.default_rng(982_451_653)
    sound = (0.1 * generator.standard_normal(samples)).astype(np.float32)
    moments = np.sort(generator.integers(samples // 10, samples - samples // 10, _MOMENTS)).tolist()
    try:
        plain = _run(probe, read, [sound])
        if not torch.equal(plain, _run(probe, read, [sound])):
            return None
        early = _run(probe, read, [_turned(sound, 0, at) for at in moments])
        late = _run(probe, read, [_turned(sound, at, samples) for at in moments])
    except NotReachedError:
        return None
    for share in _SHARES:
        off = _OFF if share == 0 else _OFF_OF_SHARES
        spans = _spans(
            probe.size,
            moments,
            off,
            _strides(probe.model),
            *(_changed(probe, plain, after, share) for after in (early, late)),
        )
        if spans is not None:
            return [(round(max(0.0, start) / rate, 4), round(stop / rate, 4)) for start, stop in spans]
    return None


def _changed(probe: Probe, plain: Tensor, after: Tensor, share: float) -> Tensor:
    """bool ``[variant, token]``: which tokens change by more than a share of the largest change, and than rounding."""
    by = (after - plain).abs().amax(-1)
    return probe.changed(plain, after) & (by > share * by.amax(1, keepdim=True))


def _spans(
    size: int, moments: list[int], off: float, steps: list[float], early: Tensor, late: Tensor
) -> list[tuple[float, float]] | None:
    """First and last sample of each of ``size`` tokens; None if they do not follow each other evenly.

    A token changes early for all moments after its beginning, and late for all before its end.
    """
    begun, ended = early.sum(1).tolist(), (size - late.sum(1)).tolist()
    numbers = torch.arange(size, device=early.device)
    gaps = (early != (numbers < early.sum(1)[:, None])) | (late != (numbers >= size - late.sum(1)[:, None]))
    if int(gaps.sum(1).max()) > (0 if off == _OFF else 2 * off):
        return None
    step = _step(moments, begun, ended)
    if step is None:
        return None
    if off > _OFF:  # too coarse a measurement of the step, which has to be one of the model's own
        step = next((own for own in steps if abs(own - step) < _NEAR * step), None)
        if step is None:
            return None
    begins, ends = ([count - at / step for at, count in zip(moments, counts, strict=True)] for counts in (begun, ended))
    if max(np.ptp(begins), np.ptp(ends)) > 2 * off:
        return None
    # Token i begins to read at step · (i + ½ − begins) and ends at step · (i + ½ − ends); its center is between them.
    centers = step * (np.arange(size) + 0.5 - (np.mean(begins) + np.mean(ends)) / 2)
    return [(center - step / 2, center + step / 2) for center in centers.tolist()]


def _step(moments: list[int], begun: list[int], ended: list[int]) -> float | None:
    """Samples from one token to the next; None if the tokens do not follow each other evenly."""
    slopes = [float(np.polyfit(moments, counts, 1)[0]) for counts in (begun, ended)]
    if min(slopes) <= 0 or abs(slopes[0] - slopes[1]) > _NEAR * max(slopes):
        return None
    step = 2 / sum(slopes)
    return round(step) if abs(step - round(step)) < _WHOLE * step else step  # strides are whole samples


def _strides(model: nn.Module) -> list[float]:
    """Samples from one token to the next after each of the model's convolutions over time."""
    strides = [int(module.stride[0]) for module in model.modules() if isinstance(module, nn.Conv1d)]
    return [float(step) for step in np.cumprod(strides).tolist()]


def _run(probe: Probe, read: ReadSound, sounds: list[np.ndarray]) -> Tensor:
    like = probe.inputs[probe.name]
    values = [read(sound).to(like) for sound in sounds]
    if any(value.shape != like.shape for value in values):
        raise NotReachedError("the processor's output has another size")
    return probe.run(probe.varied(values))


def _turned(sound: np.ndarray, start: int, stop: int) -> np.ndarray:
    result = sound.copy()
    result[start:stop] = sound[start:stop][::-1]
    return result
