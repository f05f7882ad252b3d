"""Parts of a text, and the attention between them: sentences, turns, documents, thoughts, spans of your own."""

from __future__ import annotations

from attention_analyzer.parts.attention import PartAttention
from attention_analyzer.parts.lookback import Lookback, lookback
from attention_analyzer.parts.measure import between
from attention_analyzer.parts.receivers import Receivers, receivers
from attention_analyzer.text.parts import Part, Parts
from attention_analyzer.text.splitters import SPLITTERS, parts_of

__all__ = [
    "SPLITTERS",
    "Lookback",
    "Part",
    "PartAttention",
    "Parts",
    "Receivers",
    "between",
    "lookback",
    "parts_of",
    "receivers",
]
