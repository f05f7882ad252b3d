"""What the analyses return, in one place: for type annotations, ``isinstance`` and reading the documentation.

Each class is imported from the package of its analysis when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.attribution import AttributionComparison, TokenImportance
    from attention_analyzer.capturing import CapturedForwards
    from attention_analyzer.comparison import Comparison, MultiModelComparison
    from attention_analyzer.corpus import Corpus
    from attention_analyzer.diagnosis import Diagnosis
    from attention_analyzer.heads import DepthProfile, HeadImportance, PruningCurve, Similarity
    from attention_analyzer.interventions import WhatIf
    from attention_analyzer.linguistics import Relations, Scores
    from attention_analyzer.matrices import AttentionMatrices
    from attention_analyzer.mechanism import (
        Circuit,
        Compositions,
        ContrastDirections,
        Effects,
        HeadWrites,
        Patching,
        Why,
    )
    from attention_analyzer.parts import Lookback, PartAttention, Receivers
    from attention_analyzer.patterns.cache_advice import CacheAdvice
    from attention_analyzer.patterns.labels import HeadLabels
    from attention_analyzer.programs.replace import ProgramReplacement
    from attention_analyzer.programs.result import HeadPrograms
    from attention_analyzer.result import Result
    from attention_analyzer.run.runner import StudyResults
    from attention_analyzer.sources import RetrievalHeads, Sources, Suppression
    from attention_analyzer.training.history import History
    from attention_analyzer.training.run_comparison import RunComparison

__all__ = [
    "AttentionMatrices",
    "AttributionComparison",
    "CacheAdvice",
    "CapturedForwards",
    "Circuit",
    "Comparison",
    "Compositions",
    "ContrastDirections",
    "Corpus",
    "DepthProfile",
    "Diagnosis",
    "Effects",
    "HeadImportance",
    "HeadLabels",
    "HeadPrograms",
    "HeadWrites",
    "History",
    "Lookback",
    "MultiModelComparison",
    "PartAttention",
    "Patching",
    "ProgramReplacement",
    "PruningCurve",
    "Receivers",
    "Relations",
    "Result",
    "RetrievalHeads",
    "RunComparison",
    "Scores",
    "Similarity",
    "Sources",
    "StudyResults",
    "Suppression",
    "TokenImportance",
    "WhatIf",
    "Why",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AttentionMatrices": "attention_analyzer.matrices",
        "AttributionComparison": "attention_analyzer.attribution",
        "CacheAdvice": "attention_analyzer.patterns.cache_advice",
        "CapturedForwards": "attention_analyzer.capturing",
        "Circuit": "attention_analyzer.mechanism",
        "Comparison": "attention_analyzer.comparison",
        "Compositions": "attention_analyzer.mechanism",
        "ContrastDirections": "attention_analyzer.mechanism",
        "Corpus": "attention_analyzer.corpus",
        "Diagnosis": "attention_analyzer.diagnosis",
        "Effects": "attention_analyzer.mechanism",
        "HeadImportance": "attention_analyzer.heads",
        "History": "attention_analyzer.training.history",
        "HeadLabels": "attention_analyzer.patterns.labels",
        "HeadWrites": "attention_analyzer.mechanism",
        "HeadPrograms": "attention_analyzer.programs.result",
        "Lookback": "attention_analyzer.parts",
        "PartAttention": "attention_analyzer.parts",
        "Patching": "attention_analyzer.mechanism",
        "ProgramReplacement": "attention_analyzer.programs.replace",
        "PruningCurve": "attention_analyzer.heads",
        "Receivers": "attention_analyzer.parts",
        "RetrievalHeads": "attention_analyzer.sources",
        "Suppression": "attention_analyzer.sources",
        "Relations": "attention_analyzer.linguistics",
        "Result": "attention_analyzer.result",
        "RunComparison": "attention_analyzer.training.run_comparison",
        "Scores": "attention_analyzer.linguistics",
        "MultiModelComparison": "attention_analyzer.comparison",
        "Similarity": "attention_analyzer.heads",
        "DepthProfile": "attention_analyzer.heads",
        "Sources": "attention_analyzer.sources",
        "StudyResults": "attention_analyzer.run.runner",
        "TokenImportance": "attention_analyzer.attribution",
        "WhatIf": "attention_analyzer.interventions",
        "Why": "attention_analyzer.mechanism",
    },
    renamed={"LabelTable": "HeadLabels", "SeveralModels": "MultiModelComparison", "Specialisation": "DepthProfile"},
)
