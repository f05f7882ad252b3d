"""What may be said of each head from one text: a name that is certain and informs, else a measured fact, else nothing.

A name is certain where the strength, corrected for its controls, is credibly above the pattern's threshold: by its
spread over the queries, one-sided, at a false discovery rate over all heads and patterns (Benjamini & Hochberg). It
informs where at most half of the text's heads bear it, and where nothing more special is true of the head: a head that
spreads its weight but puts 40 % of it on one token is not said to be broad. What is left is the strongest share of
weight that stands out from its controls, such as "42% on [SEP]"; of one text that is a fact, not what the head does
elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.patterns.measure import Strengths, measure_record
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.stats import benjamini_hochberg
from attention_analyzer.weights.reductions import MatchWeight

LEVEL = 0.05
#: A share of weight is worth saying from here on, beyond its controls.
FACT = 0.15
#: A more special fact is said instead of a stronger one from this part of its strength on.
AS_STRONG = 0.6
#: Patterns about repeated tokens name heads only of texts this long: in a shorter one hardly anything repeats.
LONG_ENOUGH_TO_REPEAT = 32
#: With fewer heads than this, one that many bear still tells them apart.
FEWEST_HEADS = 8
#: Names for what is left when nothing else fits: they give way to any fact.
VAGUE = frozenset({"broad"})
#: What one text cannot say of a head at all.
_NEVER = frozenset({"mixed"})


@dataclass(frozen=True)
class Remark:
    """Something said of one head.

    Attributes:
        site: number of the attention layer in the record; ``head``.
        name: of the pattern; ``certain``: whether the head bears the name here, or ``text`` is a fact only.
        strength: share of the weight; ``control``: the stronger of its controls, NaN without one.
        text: for people, such as "42% on [SEP]"; "" of a name.
    """

    site: int
    head: int
    name: str
    certain: bool
    strength: float
    control: float
    text: str = ""


def remarks(record: CapturedAttention) -> list[Remark]:
    """Of every head its names, the most specific first, or one fact; nothing of heads of which nothing stands out."""
    measured = [found for _, found in measure_record(record)]
    candidates = _certain(record, measured)
    heads = sum(site.heads for site, _ in measure_record(record))
    bearers = Counter(found.patterns[number].name for at, number, _ in candidates for found in (measured[at],))
    common = {name for name, count in bearers.items() if heads >= FEWEST_HEADS and count > heads / 2}
    said: list[Remark] = []
    for at, found in enumerate(measured):
        entry = record.entries[at]
        facts = _facts(entry, found, at)
        for head in range(found.strength.shape[1]):
            names = [number for where, number, which in candidates if (where, which) == (at, head)]
            names = [number for number in names if found.patterns[number].name not in common]
            if head in facts:
                names = [number for number in names if found.patterns[number].name not in VAGUE]
            if names:
                said += [Remark(at, head, found.patterns[n].name, True, *_numbers(found, n, head)) for n in names]
            elif head in facts:
                said.append(facts[head])
    return said


def _certain(record: CapturedAttention, measured: Sequence[Strengths]) -> list[tuple[int, int, int]]:
    """``(site, pattern, head)`` of names that are credibly earned."""
    places, chances = [], []
    for at, found in enumerate(measured):
        control = torch.fmax(found.chance, found.position).nan_to_num(0)
        thresholds = torch.tensor([pattern.threshold for pattern in found.patterns], dtype=torch.float64)[:, None]
        error = torch.full_like(found.strength, torch.nan) if found.error is None else found.error
        needed = control + thresholds * (1 - control)
        p = ndtr(-((found.strength - needed) / error).numpy())
        short = record.entries[at].weights.queries < LONG_ENOUGH_TO_REPEAT
        for number, pattern in enumerate(found.patterns):
            if pattern.name in _NEVER or (short and reads_repeats(pattern)):
                continue
            places += [(at, number, head) for head in range(p.shape[1])]
            chances.append(p[number])
    adjusted = benjamini_hochberg(np.concatenate(chances)) if chances else np.zeros(0)
    return [place for place, q in zip(places, adjusted.tolist(), strict=True) if q <= LEVEL]


def reads_repeats(pattern: Pattern) -> bool:
    """Whether a pattern is about tokens that the text repeats."""
    return any(isinstance(need, MatchWeight) for need in pattern.needs)


def _facts(entry: SiteRecord, found: Strengths, at: int) -> dict[int, Remark]:
    """For each head the share of weight that stands out most from its controls, where one does."""
    able = [number for number, pattern in enumerate(found.patterns) if pattern.place]
    if not able:
        return {}
    corrected = found.corrected[able].nan_to_num(0)
    facts = {}
    for head in range(corrected.shape[1]):
        most = float(corrected[:, head].max())
        if most >= FACT:
            # Patterns stand in the order of how much they say: the first that comes near the strongest.
            near = corrected[:, head] >= max(FACT, AS_STRONG * most)
            best = able[int(near.long().argmax())]
            pattern = found.patterns[best]
            strength, control = _numbers(found, best, head)
            text = f"{strength:.0%} {_place(entry, found, pattern, head)}"
            facts[head] = Remark(at, head, pattern.name, False, strength, control, text)
    return facts


def _place(entry: SiteRecord, found: Strengths, pattern: Pattern, head: int) -> str:
    which = ""
    if pattern.name in found.places:
        which = ", ".join(pattern.said(found.places[pattern.name][head].tolist(), entry.keys))
    members = entry.keys.members.get(getattr(pattern, "group", ""), ())
    if any(members):
        shown = dict.fromkeys(piece.strip() for piece, flag in zip(entry.keys.pieces, members, strict=True) if flag)
        which = " and ".join(list(shown)[:2])
    return pattern.place.format(which=which)


def _numbers(found: Strengths, number: int, head: int) -> tuple[float, float]:
    control = float(torch.fmax(found.chance, found.position)[number, head])
    return float(found.strength[number, head]), control
