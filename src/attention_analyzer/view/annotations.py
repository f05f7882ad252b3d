"""What other analyses may add to a page: scores per token, names for heads, groups of heads. All optional."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError
from attention_analyzer.text.parts import Parts
from attention_analyzer.text.tokens import Tokens

if TYPE_CHECKING:
    from attention_analyzer.patterns.labels import HeadLabels


@dataclass(frozen=True)
class TokenTrack:
    """One number per token, by which the Text view can shade (an importance, say).

    Attributes:
        name: what the menu shows; ``values``: one per token of ``tokens``; ``note``: what the numbers mean.
    """

    name: str
    tokens: Tokens
    values: Sequence[float]
    note: str = ""


@dataclass(frozen=True)
class HeadLabel:
    """A name for a head, such as a pattern's, with its strength and the strength that chance gives."""

    site: str
    head: int
    name: str
    strength: float
    control: float | None = None


@dataclass(frozen=True)
class HeadClusters:
    """A grouping of all heads: ``groups`` has the name of each head's group, in the order of the record's sites."""

    name: str
    groups: Sequence[str]


@dataclass(frozen=True)
class Annotations:
    """Everything added to one record's page.

    Attributes:
        labels: names of heads, the most specific of a head first; None shows the names that heads earn in the page's
            own text, which is no proof.
        labels_from: what the names were found on, as the menu says it.
        parts: further divisions of a text, such as ``record.parts("function")``, for the Parts view.
    """

    tracks: Sequence[TokenTrack] = ()
    labels: Sequence[HeadLabel] | None = None
    clusters: Sequence[HeadClusters] = ()
    labels_from: str = ""
    parts: Sequence[Parts] = ()

    @classmethod
    def of_labels(cls, labels: HeadLabels, **more: Any) -> Annotations:
        """With the names that heads earn over several texts; see :meth:`.AttentionAnalyzer.label_heads`."""
        # A pattern may be proven on texts and on probes; the head is named once.
        earned = labels.labels.drop_duplicates(["stack", "kind", "layer", "head", "pattern"])
        named = [
            HeadLabel(f"{row.stack}.{row.kind}.{row.layer}", int(row.head), row.pattern, row.strength, _control(row))
            for row in earned.itertuples(index=False)
        ]
        return cls(labels=named, labels_from="several texts", **more)

    def content(self, record: CapturedAttention, tables: Sequence[Tokens]) -> dict[str, Any]:
        """As plain header entries; ``tables`` are the record's token tables in the payload's order.

        Raises:
            InputError: something does not fit the record.
        """
        names = [site.name for site in record.sites]
        heads = sum(site.heads for site in record.sites)
        tracks, labels = [], []
        for track in self.tracks:
            if track.tokens not in tables or len(track.values) != len(track.tokens):
                raise InputError(
                    f"The track {track.name!r} has {len(track.values)} values, which do not belong to the tokens of "
                    "this record."
                )
            values = [float(f"{value:.5g}") for value in track.values]
            tracks.append(
                {"name": track.name, "tokens": tables.index(track.tokens), "values": values, "note": track.note}
            )
        for label in self.labels or ():
            if label.site not in names or not 0 <= label.head < record.sites[names.index(label.site)].heads:
                raise InputError(f"The label {label.name!r} names {label.site} head {label.head}, which is not there.")
            labels.append(
                {
                    "site": names.index(label.site),
                    "head": label.head,
                    "name": label.name,
                    "strength": float(label.strength),
                    "control": None if label.control is None else float(label.control),
                }
            )
        for parts in self.parts:
            if parts.tokens not in tables:
                raise InputError(f"The parts of the level {parts.level!r} do not belong to the tokens of this record.")
        for clusters in self.clusters:
            if len(clusters.groups) != heads:
                raise InputError(
                    f"The grouping {clusters.name!r} has {len(clusters.groups)} entries for {heads} heads."
                )
        named = {} if self.labels is None else {"labels": labels, "labels_from": self.labels_from}
        return {
            "tracks": tracks,
            **named,
            "clusters": [{"name": item.name, "groups": list(map(str, item.groups))} for item in self.clusters],
        }


def _control(row: Any) -> float | None:
    """The larger of what chance and position give, where either is known."""
    known = [float(value) for value in (row.chance, row.position) if not math.isnan(value)]
    return max(known, default=None)
