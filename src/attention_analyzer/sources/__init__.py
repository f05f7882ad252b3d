"""Which part of a prompt an answer came from: methods, how each is judged, learned head weights."""

from __future__ import annotations

from attention_analyzer.sources.find import METHODS, sources
from attention_analyzer.sources.head_weights import HeadWeights, learn_head_weights
from attention_analyzer.sources.result import Sources
from attention_analyzer.sources.retrieval import RetrievalHeads, retrieval_heads
from attention_analyzer.sources.suppression import Suppression, suppression

__all__ = [
    "METHODS",
    "HeadWeights",
    "RetrievalHeads",
    "Sources",
    "Suppression",
    "learn_head_weights",
    "retrieval_heads",
    "sources",
    "suppression",
]
