"""What heads do, by name: one detector per file, and the controls that make a label honest."""

from __future__ import annotations

from attention_analyzer.patterns.matrix import named, strengths_of
from attention_analyzer.patterns.pattern import Pattern
from attention_analyzer.patterns.registry import PATTERNS, pattern_named

__all__ = ["PATTERNS", "Pattern", "named", "pattern_named", "strengths_of"]
