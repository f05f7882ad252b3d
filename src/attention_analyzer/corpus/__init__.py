"""Whole corpora: every head measured on every text, in a store that can be asked."""

from __future__ import annotations

from attention_analyzer.corpus.corpus import Corpus
from attention_analyzer.corpus.scan import scan
from attention_analyzer.corpus.scan_progress import Progress

__all__ = ["Corpus", "Progress", "scan"]
