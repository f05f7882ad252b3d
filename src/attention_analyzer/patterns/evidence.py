"""What several texts showed of every head, before anything is concluded from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attention_analyzer.patterns.measure import corrected_for
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.streaming import Measured
from attention_analyzer.site import Site
from attention_analyzer.stats import Floats, mean_over_texts
from attention_analyzer.text.tokens import Tokens

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

    def look(self, pattern: Pattern, places: Sequence[Sequence[int]], keys: Tokens) -> None:
        """Enter the places of one text, per head."""
        self.looked = self.looked or [Counter() for _ in places]
        for counts, of_head in zip(self.looked, places, strict=True):
            counts.update(dict.fromkeys(pattern.said(of_head, keys), 1))


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
        self._first = self._first or source
        self.texts += len(batch[0].keys) if source == self._first else 0
        for found in batch:
            strengths = found.strengths
            for index, pattern in enumerate(strengths.patterns):
                part = self.parts.setdefault((found.site, pattern.name, source), Part())
                for name in ("strength", "chance", "position"):
                    getattr(part, name).append(getattr(strengths, name)[index].numpy())
                if pattern.name in strengths.places:
                    for text, places in enumerate(strengths.places[pattern.name].tolist()):
                        part.look(pattern, places, found.keys[text])


def nearly_largest(evidence: Evidence) -> dict[tuple[str, str], float]:
    """Per pattern and kind of text, the mean strength that :data:`BEATEN` of all heads stay below."""
    means: dict[tuple[str, str], list[Floats]] = {}
    for (_, name, source), part in evidence.parts.items():
        means.setdefault((name, source), []).append(mean_over_texts(np.concatenate(part.strength)))
    return {key: float(np.nanquantile(np.concatenate(parts), BEATEN)) for key, parts in means.items()}
