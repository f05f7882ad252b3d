"""What heads are to one another and to the model: how alike, how much needed, how they change with depth."""

from __future__ import annotations

from attention_analyzer.deprecation import renamed, renamed_names
from attention_analyzer.heads.depth import DepthProfile, depth_profile
from attention_analyzer.heads.importance import HeadImportance, head_importance
from attention_analyzer.heads.pruning import PruningCurve, pruning_curve
from attention_analyzer.heads.similarity import Similarity, similarity

specialisation = renamed(depth_profile, "specialisation")
__getattr__ = renamed_names(__name__, {"Specialisation": "DepthProfile"})

__all__ = [
    "DepthProfile",
    "HeadImportance",
    "PruningCurve",
    "Similarity",
    "depth_profile",
    "head_importance",
    "pruning_curve",
    "similarity",
]
