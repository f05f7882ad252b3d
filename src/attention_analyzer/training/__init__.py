"""How attention grows: a tracker for any training loop, and what its history says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.training.checkpoints import track_checkpoints
    from attention_analyzer.training.history import History
    from attention_analyzer.training.run_comparison import RunComparison
    from attention_analyzer.training.schedule import EveryNSeconds, EveryNSteps, LogSpaced, Schedule
    from attention_analyzer.training.tracker import AttentionTracker

__all__ = [
    "AttentionTracker",
    "EveryNSeconds",
    "EveryNSteps",
    "History",
    "LogSpaced",
    "RunComparison",
    "Schedule",
    "track_checkpoints",
]

# The tracker is a callback of transformers' Trainer, whose import takes seconds; a history needs none of it.
__getattr__, __dir__ = lazily(
    __name__,
    {
        "AttentionTracker": "attention_analyzer.training.tracker",
        "EveryNSteps": "attention_analyzer.training.schedule",
        "History": "attention_analyzer.training.history",
        "LogSpaced": "attention_analyzer.training.schedule",
        "RunComparison": "attention_analyzer.training.run_comparison",
        "Schedule": "attention_analyzer.training.schedule",
        "EveryNSeconds": "attention_analyzer.training.schedule",
        "track_checkpoints": "attention_analyzer.training.checkpoints",
    },
    renamed={"EveryStep": "EveryNSteps", "Timed": "EveryNSeconds"},
)
