"""The strengths of one text as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.streaming import Measured, measured
from attention_analyzer.patterns.table import PATTERNS
from attention_analyzer.record import AttentionRecord
from attention_analyzer.text.tokens import Tokens


def pattern_table(record: AttentionRecord, patterns: Sequence[Pattern] = PATTERNS) -> pd.DataFrame:
    """One row per site, head and pattern that has a meaning there.

    Returns:
        ``stack, kind, layer, head, pattern``; ``strength`` in [0, 1]; the controls ``chance`` (evenly spread weights)
        and ``position`` (position-matched), NaN where there is none; ``corrected`` for the stronger of them;
        ``threshold``; ``shows``, whether the corrected strength reaches it in this text; ``which`` (the offset, or the
        tokens of a stripe). One text is no proof of what a head does: :func:`.labels.label_heads` looks at several.
    """
    sites = [_site_table(found) for found in measured(record, patterns)]
    return pd.concat(sites, ignore_index=True)


def _site_table(found: Measured) -> pd.DataFrame:
    strengths, site = found.strengths.of_text(0), found.site
    frames = []
    for index, pattern in enumerate(strengths.patterns):
        corrected = strengths.corrected[index].numpy()
        places = strengths.places.get(pattern.name)
        which = [""] * site.heads if places is None else [said(pattern, row, found.keys[0]) for row in places.tolist()]
        frames.append(
            pd.DataFrame(
                {"stack": site.stack, "kind": site.kind, "layer": site.layer, "head": range(site.heads)}
                | {"pattern": pattern.name, "strength": strengths.strength[index], "chance": strengths.chance[index]}
                | {"position": strengths.position[index], "corrected": corrected, "threshold": pattern.threshold}
                | {"shows": corrected >= pattern.threshold, "which": which}
            )
        )
    known = pd.concat(frames, ignore_index=True).dropna(subset="strength")
    return known.sort_values("head", kind="stable", ignore_index=True)


def said(pattern: Pattern, places: Sequence[int], keys: Tokens) -> str:
    """Where one head looks, for people: an offset, or tokens."""
    return ", ".join(pattern.said(places, keys))
