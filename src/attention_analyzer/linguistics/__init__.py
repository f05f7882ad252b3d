"""What heads know of language: dependencies, semantic roles and coreference, against baselines that know nothing."""

from __future__ import annotations

from attention_analyzer.linguistics.combination import Combination
from attention_analyzer.linguistics.relations import TASKS, Relations, read_annotated, relations
from attention_analyzer.linguistics.scores import Example, Scores

__all__ = ["TASKS", "Combination", "Example", "Relations", "Scores", "read_annotated", "relations"]
