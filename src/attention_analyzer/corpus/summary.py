"""What a scan knows of all heads so far, of a fixed size whatever the number of texts; summaries merge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attention_analyzer.corpus.measures import MEASURES
from attention_analyzer.corpus.running_stats import Moments
from attention_analyzer.corpus.top_k import Strongest
from attention_analyzer.errors import InputError
from attention_analyzer.site import Site

#: Examples of all heads and measures together at most, some bytes each.
_MOST_EXAMPLES = 1 << 25


@dataclass(frozen=True)
class KeptText:
    """A text that is an example of something, kept to be shown.

    Attributes:
        content, place: as read.
        pieces: of the main text's tokens; ``others`` those of an encoder–decoder's target.
    """

    content: str
    place: str
    pieces: tuple[str, ...]
    others: tuple[str, ...] = ()

    def axes(self, site: Site) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The tokens that are queries and those that are keys at a site."""
        of_target = self.others if self.others and site.tower == "decoder" else self.pieces
        return of_target, self.pieces if site.kind == "cross" and self.others else of_target


@dataclass(frozen=True)
class Summary:
    """Of a run of texts.

    Attributes:
        sites: in the order of the heads, which are numbered through all sites.
        moments: of every measure, ``[head, measure]``.
        texts: the texts where each measure of each head is largest, ``[head · measure, k]``.
        pairs: each head's strongest token pairs, at most one a text, ``[head, k]``.
        kept: the texts that these name.
    """

    sites: tuple[Site, ...]
    moments: Moments
    texts: Strongest
    pairs: Strongest
    kept: Mapping[int, KeptText]

    @property
    def heads(self) -> int:
        return sum(site.heads for site in self.sites)

    @classmethod
    def empty(cls, sites: tuple[Site, ...], most: int) -> Summary:
        """Of no text.

        Raises:
            InputError: so many examples of so many heads would fill the memory.
        """
        heads = sum(site.heads for site in sites)
        if heads * (len(MEASURES) + 1) * most > _MOST_EXAMPLES:
            raise InputError(
                f"{most:,} examples of each of {len(MEASURES)} measures are too many for {heads:,} heads; "
                f"keep {_MOST_EXAMPLES // (heads * (len(MEASURES) + 1)):,} at most."
            )
        return cls(
            sites,
            Moments.empty((heads, len(MEASURES))),
            Strongest.empty(heads * len(MEASURES), most),
            Strongest.empty(heads, most),
            {},
        )

    @classmethod
    def of(
        cls,
        sites: tuple[Site, ...],
        numbers: NDArray[np.int64],
        values: NDArray[np.float32],
        pair_weights: NDArray[np.float32],
        pair_places: NDArray[np.int32],
        texts: Mapping[int, KeptText],
        most: int,
    ) -> Summary:
        """Of texts with these numbers: ``values [text, head, measure]`` and, for each head, the strongest pair of each
        text, ``[text, head]`` (NaN for none) at ``[text, head, 2]``.
        """
        best = Strongest.of(values.reshape(len(values), -1), numbers, most)
        pairs = Strongest.of(pair_weights, numbers, most, pair_places)
        return cls(sites, Moments.of(values), best, pairs, _named(texts, (best, pairs)))

    def merge(self, other: Summary) -> Summary:
        """Of both runs together, which share no text."""
        texts, pairs = self.texts.merge(other.texts), self.pairs.merge(other.pairs)
        kept = _named({**self.kept, **other.kept}, (texts, pairs))
        return Summary(self.sites, self.moments.merge(other.moments), texts, pairs, kept)


def _named(texts: Mapping[int, KeptText], lists: Iterable[Strongest]) -> dict[int, KeptText]:
    """Those texts that one of the lists names."""
    named = np.unique(np.concatenate([each.text.ravel() for each in lists]))
    return {int(number): texts[int(number)] for number in named if number >= 0}
