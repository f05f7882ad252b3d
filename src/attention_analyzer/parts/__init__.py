"""Parts of a text, and the attention between them: sentences, turns, documents, thoughts, spans of your own."""

from __future__ import annotations

from attention_analyzer.parts.attention import PartAttention
from attention_analyzer.parts.measure import between
from attention_analyzer.text.parts import Part, Parts
from attention_analyzer.text.splitters import SPLITTERS, parts_of

__all__ = ["SPLITTERS", "Part", "PartAttention", "Parts", "between", "parts_of"]
