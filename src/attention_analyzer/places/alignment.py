"""When each written word sounds: cross-attention of the heads that follow the sound, and the silences between words.

Rows of the cross-attention are those that write the words. Each head is scored by how much of its weight lies on one
monotone path through the sound (dynamic programming over words and frames); the best heads are averaged and give the
path. Each word's stretch is then narrowed to the sound in it: a stretch says where a word is, the loudness where it
begins and ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import InputError
from attention_analyzer.media.sounds import Sound
from attention_analyzer.text.place import SoundSpan

#: Heads whose score is at least this share of the best one's are averaged, up to a number.
_NEARLY_AS_GOOD, _MOST_HEADS = 0.8, 6
#: Seconds by which a head may look beside a word.
_BESIDE = 0.08
#: Seconds of a window of loudness, and how much louder than the quiet parts a sound must be to have silences.
_WINDOW, _CLEAR = 0.005, 4.0


@dataclass(frozen=True)
class _Path:
    """First and last frame of each token, and the share of its weight that lies there."""

    first: np.ndarray
    last: np.ndarray
    share: np.ndarray


def align(record: CapturedAttention, heads: list[tuple[int, int]] | None = None) -> pd.DataFrame:
    """When each word of the target sounds: ``word``, ``start`` and ``stop`` in seconds, and ``confidence``.

    The confidence is the share of the word's weight that lies in its stretch of the sound, from 0 to 1.

    Args:
        heads: ``(layer, head)`` of the cross-attention; by default those that follow this sound best.

    Raises:
        InputError: the record is not of a sound with a target, or its times are not known.
    """
    entries = [
        entry
        for entry in record.entries
        if entry.site.kind == "cross" and any(isinstance(place, SoundSpan) for place in entry.keys.places)
    ]
    sounds = [medium for medium in record.media if isinstance(medium, Sound)]
    if not entries or not sounds:
        raise InputError(
            "Words are aligned to a sound in the record of an encoder–decoder; make one with record(audio=…)."
        )
    sound = sounds[0]
    tokens = entries[0].queries
    written = [number for number in range(1, len(tokens)) if not tokens.is_special[number]]
    if not written:
        raise InputError("The target holds no word; give the text that is spoken: record('…', audio=…).")
    spans = [
        (key, place)
        for key, place in enumerate(entries[0].keys.places)
        if isinstance(place, SoundSpan) and place.start < sound.seconds
    ]
    runs = _loud_runs(sound)
    found = _near_sound(_heads(entries, written, [key for key, _ in spans], heads), [place for _, place in spans], runs)
    path = _path(found)
    words = _words(tokens.words, written)
    stretches, peaks = [], []
    for _, members in words:
        first, last = path.first[members[0]], path.last[members[-1]]
        stretches.append((spans[first][1].start, min(spans[last][1].stop, sound.seconds)))
        peak = spans[first + int(found[members].sum(0)[first : last + 1].argmax())][1]
        peaks.append((peak.start + peak.stop) / 2)
    rows = []
    for number, (word, members) in enumerate(words):
        text = "".join(tokens.pieces[written[member]] for member in members).strip()
        start, stop = _narrowed(runs, stretches[number], peaks, number)
        shown = text if word is None else tokens.word_texts[word]
        rows.append((shown, round(start, 4), round(stop, 4), float(path.share[members].mean())))
    return pd.DataFrame(rows, columns=["word", "start", "stop", "confidence"])


def _heads(
    entries: list[SiteRecord], written: list[int], keys: list[int], wanted: list[tuple[int, int]] | None
) -> np.ndarray:
    """Weights ``[token, frame]`` of the heads that follow the sound, each row summing to one."""
    scored: list[tuple[float, np.ndarray]] = []
    queries = [number - 1 for number in written]  # a token is decided one query earlier
    for entry in entries:
        for head in range(entry.site.heads):
            if wanted is not None and (entry.site.layer, head) not in wanted:
                continue
            weights = np.asarray(entry.weights[head].float().cpu())[queries][:, keys]
            weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)
            scored.append((float(_path(weights).share.mean()), weights))
    if not scored:
        raise InputError(f"The cross-attention has none of the heads {wanted}.")
    scored.sort(key=lambda each: -each[0])
    least = _NEARLY_AS_GOOD * scored[0][0]
    return np.mean([weights for score, weights in scored[:_MOST_HEADS] if wanted or score >= least], axis=0)


def _path(weights: np.ndarray) -> _Path:
    """The monotone path with the most weight: every frame belongs to one token, in order."""
    tokens, frames = weights.shape
    gain = weights - weights.mean(0, keepdims=True)  # how much more a token looks at a frame than the others do
    best = np.full((tokens, frames), -np.inf)
    came = np.zeros((tokens, frames), dtype=bool)  # from the token before
    best[0] = gain[0].cumsum()
    for frame in range(1, frames):
        stay, step = best[1:, frame - 1], best[:-1, frame - 1]
        came[1:, frame] = step > stay
        best[1:, frame] = np.maximum(stay, step) + gain[1:, frame]
    first, last = np.zeros(tokens, dtype=int), np.zeros(tokens, dtype=int)
    token, last[tokens - 1] = tokens - 1, frames - 1
    for frame in range(frames - 1, 0, -1):
        if came[token, frame]:
            first[token] = frame
            token -= 1
            last[token] = frame - 1
    share = np.array([weights[token, first[token] : last[token] + 1].sum() for token in range(tokens)])
    return _Path(first, last, share)


def _near_sound(weights: np.ndarray, places: list[SoundSpan], runs: list[tuple[float, float]]) -> np.ndarray:
    """The weights spread over a few frames, and none in silences: heads may look at a word's edge or beside it."""
    if not runs or len(places) < 2:
        return weights
    frames = round(_BESIDE / (places[-1].start - places[-2].start))
    spread = np.stack([np.convolve(row, np.ones(2 * frames + 1), "same") for row in weights])
    centers = np.array([(place.start + place.stop) / 2 for place in places])
    loud = np.any([(centers >= start) & (centers <= stop) for start, stop in runs], axis=0)
    if not loud.any():
        return weights
    return np.asarray(spread * loud / np.maximum((spread * loud).sum(1, keepdims=True), 1e-9))


def _words(words: tuple[int | None, ...], written: list[int]) -> list[tuple[int | None, list[int]]]:
    """Numbers of words, and which of the written tokens each consists of."""
    result: list[tuple[int | None, list[int]]] = []
    for member, number in enumerate(written):
        word = words[number]
        if result and word is not None and result[-1][0] == word:
            result[-1][1].append(member)
        else:
            result.append((word, [member]))
    return result


def _loud_runs(sound: Sound) -> list[tuple[float, float]]:
    """Start and end in seconds of what is not silence; none, if the sound has no clear silences."""
    width = max(1, int(_WINDOW * sound.rate))
    count = len(sound.samples) // width
    loudness = np.sqrt((sound.samples[: count * width].reshape(count, width).astype(np.float64) ** 2).mean(1))
    floor, peak = np.quantile(loudness, (0.05, 0.9))
    if peak < _CLEAR * max(floor, 1e-9):
        return []
    loud = np.flatnonzero(loudness >= np.sqrt(max(floor, 1e-6) * peak))
    seconds = width / sound.rate
    return [
        (float(run[0] * seconds), float((run[-1] + 1) * seconds))
        for run in np.split(loud, np.flatnonzero(np.diff(loud) > 1) + 1)
    ]


def _narrowed(
    runs: list[tuple[float, float]], stretch: tuple[float, float], peaks: list[float], number: int
) -> tuple[float, float]:
    """The part of a word's stretch that is not silent.

    A run of sound belongs to a word whole if no other word's peak lies in it and most of it lies in the stretch, or the
    word's own peak does; one that several words share is cut to the stretch.
    """
    own: list[tuple[float, float]] = []
    for start, stop in runs:
        inside = min(stop, stretch[1]) - max(start, stretch[0])
        has_peak = start <= peaks[number] <= stop
        if any(start <= peak <= stop for other, peak in enumerate(peaks) if other != number):
            if inside > 0 and has_peak:
                own.append((max(start, stretch[0]), min(stop, stretch[1])))
        elif has_peak or inside > (stop - start) / 2:
            own.append((start, stop))
    if not own:
        return stretch
    return min(start for start, _ in own), max(stop for _, stop in own)
