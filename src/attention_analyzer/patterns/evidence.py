"""What several texts showed of every head, before anything is concluded from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attention_analyzer.patterns.measure import corrected_for
from attention_analyzer.patterns.streaming import Measured
from attention_analyzer.run.state import Array, State, lines, read_lines
from attention_analyzer.site import Site
from attention_analyzer.stats import Floats, mean_over_texts

#: The control from an untrained model is what this share of its heads stay below.
BEATEN = 0.95
#: How many places of a pattern are named.
_NAMED = 3


@dataclass
class Part:
    """One pattern at one site: arrays ``[text, head]``, batch by batch, and where each head looked."""

    strength: list[Floats] = field(default_factory=list)
    chance: list[Floats] = field(default_factory=list)
    position: list[Floats] = field(default_factory=list)
    looked: list[Counter[str]] = field(default_factory=list)

    def corrected(self, untrained: float) -> Floats:
        """The strengths ``[text, head]``, corrected for the strongest control, an untrained model's level included."""
        strength, chance, position = (
            torch.from_numpy(np.concatenate(part)) for part in (self.strength, self.chance, self.position)
        )
        control = torch.fmax(torch.fmax(chance, position), torch.full_like(strength, untrained))
        corrected: Floats = corrected_for(strength, control).numpy()
        return corrected

    def which(self) -> list[str]:
        """Per head the places that most texts named; empty for a pattern that names none."""
        return [", ".join(place for place, _ in counts.most_common(_NAMED)) for counts in self.looked]

    def look(self, said: Sequence[Sequence[str]]) -> None:
        """Enter the places of one text, per head."""
        self.looked = self.looked or [Counter() for _ in said]
        for counts, of_head in zip(self.looked, said, strict=True):
            counts.update(dict.fromkeys(of_head, 1))


@dataclass
class Evidence:
    """Strengths and controls of every head and pattern, by what they were measured on.

    Attributes:
        texts: how many were added under the first name.
    """

    parts: dict[tuple[Site, str, str], Part] = field(default_factory=dict)
    texts: int = 0
    _first: str = ""

    def add(self, batch: Sequence[Measured], source: str) -> None:
        """Enter a batch of texts."""
        self.enter(state_of(batch), source)

    def enter(self, state: State, source: str) -> None:
        """Enter what :func:`state_of` made of some texts."""
        self._first = self._first or source
        self.texts += state.texts if source == self._first else 0
        sites = {site.name: site for site in state.sites}
        for name, array in state.arrays.items():
            at, pattern, what = name.split("/")
            part = self.parts.setdefault((sites[at], pattern, source), Part())
            if what == "places":
                for said in read_lines(array):
                    part.look(said)
            else:
                getattr(part, what).append(array)


def state_of(batch: Sequence[Measured]) -> State:
    """A batch of texts as a state: per site and pattern ``strength, chance, position [text, head]`` and, for patterns
    that name places, the places of every text and head.
    """
    arrays: dict[str, Array] = {}
    for found in batch:
        strengths = found.strengths
        for index, pattern in enumerate(strengths.patterns):
            at = f"{found.site.name}/{pattern.name}"
            for name in ("strength", "chance", "position"):
                arrays[f"{at}/{name}"] = getattr(strengths, name)[index].numpy()
            if pattern.name in strengths.places:
                texts = zip(strengths.places[pattern.name].tolist(), found.keys, strict=True)
                arrays[f"{at}/places"] = lines(
                    [[pattern.said(places, keys) for places in heads] for heads, keys in texts]
                )
    return State(len(batch[0].keys), tuple(found.site for found in batch), arrays)


def nearly_largest(evidence: Evidence) -> dict[tuple[str, str], float]:
    """Mean strength that :data:`BEATEN` of all heads stay below, per pattern and kind of text; NaN if none is known."""
    means: dict[tuple[str, str], list[Floats]] = {}
    for (_, name, source), part in evidence.parts.items():
        means.setdefault((name, source), []).append(mean_over_texts(np.concatenate(part.strength)))
    known = {key: (whole := np.concatenate(parts))[~np.isnan(whole)] for key, parts in means.items()}
    return {key: float(np.quantile(values, BEATEN)) if len(values) else np.nan for key, values in known.items()}
