"""How attention differs: two models, two texts, two checkpoints, or several models by depth."""

from __future__ import annotations

from attention_analyzer.comparison.comparison import Comparison, compare
from attention_analyzer.comparison.matching import Matching
from attention_analyzer.comparison.multi import SeveralModels, compare_several

__all__ = ["Comparison", "Matching", "SeveralModels", "compare", "compare_several"]
