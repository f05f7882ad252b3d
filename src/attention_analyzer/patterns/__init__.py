"""What heads do, by name: one detector per file, and the controls that make a label honest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily
from attention_analyzer.patterns.matrix import named, strengths_of
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS, pattern_named

if TYPE_CHECKING:
    from attention_analyzer.patterns.cache_advice import CacheAdvice
    from attention_analyzer.patterns.labels import HeadLabels, label_heads

__all__ = ["PATTERNS", "CacheAdvice", "HeadLabels", "Pattern", "label_heads", "named", "pattern_named", "strengths_of"]

# Detectors are light; what runs a model with them is imported when it is used.
__getattr__, __dir__ = lazily(
    __name__,
    {
        "CacheAdvice": "attention_analyzer.patterns.cache_advice",
        "HeadLabels": "attention_analyzer.patterns.labels",
        "label_heads": "attention_analyzer.patterns.labels",
    },
    renamed={"LabelTable": "HeadLabels"},
)
