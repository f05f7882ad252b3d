"""The strengths of one text as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS
from attention_analyzer.patterns.streaming import Measured, measured
from attention_analyzer.text.tokens import Tokens


def pattern_table(record: CapturedAttention, patterns: Sequence[Pattern] = PATTERNS) -> pd.DataFrame:
    """One row per site, head and pattern that has a meaning there.

    Returns:
        ``stack, kind, layer, head, pattern``; ``strength`` in [0, 1]; the controls ``chance`` (evenly spread weights)
        and ``position`` (position-matched), NaN where there is none; ``corrected`` for the stronger of them;
        ``threshold``; ``shows``, whether the corrected strength reaches it in this text; ``which`` (the offset, or the
        tokens of a stripe). One text is no proof of what a head does: :func:`.labels.label_heads` looks at several.
    """
    sites = [_columns(found) for found in measured(record, patterns)]
    table = pd.DataFrame({name: np.concatenate([columns[name] for columns in sites]) for name in sites[0]})
    return table.dropna(subset="strength", ignore_index=True)


def _columns(found: Measured) -> dict[str, NDArray[Any]]:
    """A site's rows: head by head, within a head in the order of the patterns."""
    strengths, site = found.strengths.of_text(0), found.site
    size = len(strengths.patterns)
    which = np.full((size, site.heads), "", dtype=object)
    for number, pattern in enumerate(strengths.patterns):
        if pattern.name in strengths.places:
            which[number] = [said(pattern, row, found.keys[0]) for row in strengths.places[pattern.name].tolist()]
    thresholds = np.array([pattern.threshold for pattern in strengths.patterns])
    corrected = strengths.corrected.numpy()
    rows = size * site.heads
    return {
        "stack": np.full(rows, site.stack, dtype=object),
        "kind": np.full(rows, str(site.kind), dtype=object),
        "layer": np.full(rows, site.layer),
        "head": np.repeat(np.arange(site.heads), size),
        "pattern": np.tile(np.array([pattern.name for pattern in strengths.patterns], dtype=object), site.heads),
        "strength": strengths.strength.numpy().T.ravel(),
        "chance": strengths.chance.numpy().T.ravel(),
        "position": strengths.position.numpy().T.ravel(),
        "corrected": corrected.T.ravel(),
        "threshold": np.tile(thresholds, site.heads),
        "shows": (corrected >= thresholds[:, None]).T.ravel(),
        "which": which.T.ravel(),
    }


def said(pattern: Pattern, places: Sequence[int], keys: Tokens) -> str:
    """Where one head looks, for people: an offset, or tokens."""
    return ", ".join(pattern.said(places, keys))
