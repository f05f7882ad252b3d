"""How important each token is: several claims about it, one file each, and how far each can be trusted on a text.

A new method is a new file in this room and one line in :data:`ATTRIBUTIONS`.
"""

from __future__ import annotations

from attention_analyzer.attribution.comparison import AttributionComparison, compare_attributions
from attention_analyzer.attribution.deletion import DELETIONS
from attention_analyzer.attribution.importance import TokenImportance, token_importance
from attention_analyzer.attribution.method import Attribution
from attention_analyzer.attribution.registry import ATTRIBUTIONS, attribution_named
from attention_analyzer.attribution.target_parser import TARGETS

__all__ = [
    "ATTRIBUTIONS",
    "DELETIONS",
    "TARGETS",
    "Attribution",
    "AttributionComparison",
    "TokenImportance",
    "attribution_named",
    "compare_attributions",
    "token_importance",
]
