"""How attention differs: two models, two texts, two checkpoints, or several models by depth."""

from __future__ import annotations

from attention_analyzer.comparison.comparison import Comparison, compare
from attention_analyzer.comparison.matching import Matching
from attention_analyzer.comparison.multi import MultiModelComparison, compare_models
from attention_analyzer.deprecation import renamed_names

__getattr__ = renamed_names(__name__, {"SeveralModels": "MultiModelComparison", "compare_several": "compare_models"})

__all__ = ["Comparison", "Matching", "MultiModelComparison", "compare", "compare_models"]
