"""What heads are to one another and to the model: how alike, how much needed, how they change with depth."""

from __future__ import annotations

from attention_analyzer.heads.importance import HeadImportance, head_importance
from attention_analyzer.heads.pruning import PruningCurve, pruning_curve
from attention_analyzer.heads.similarity import Similarity, similarity
from attention_analyzer.heads.specialisation import Specialisation, specialisation

__all__ = [
    "HeadImportance",
    "PruningCurve",
    "Similarity",
    "Specialisation",
    "head_importance",
    "pruning_curve",
    "similarity",
    "specialisation",
]
