"""How attention differs: two models, two texts, two checkpoints, or several models by depth."""

from __future__ import annotations

from attention_analyzer.comparison.comparison import Comparison, compare
from attention_analyzer.comparison.matching import Matching
from attention_analyzer.comparison.multi import MultiModelComparison, compare_models
from attention_analyzer.deprecation import renamed, renamed_names

compare_several = renamed(compare_models, "compare_several")
__getattr__ = renamed_names(__name__, {"SeveralModels": "MultiModelComparison"})

__all__ = ["Comparison", "Matching", "MultiModelComparison", "compare", "compare_models"]
