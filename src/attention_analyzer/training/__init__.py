"""How attention grows: a tracker for any training loop, and what its history says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_analyzer.training.checkpoints import track_checkpoints
    from attention_analyzer.training.history import History
    from attention_analyzer.training.schedule import EveryStep, LogSpaced, Schedule, Timed
    from attention_analyzer.training.tracker import AttentionTracker

_MODULES = {
    "AttentionTracker": "tracker",
    "EveryStep": "schedule",
    "History": "history",
    "LogSpaced": "schedule",
    "Schedule": "schedule",
    "Timed": "schedule",
    "track_checkpoints": "checkpoints",
}

__all__ = ["AttentionTracker", "EveryStep", "History", "LogSpaced", "Schedule", "Timed", "track_checkpoints"]


def __getattr__(name: str) -> Any:
    # The tracker is a callback of transformers' Trainer, whose import takes seconds; a history needs none of it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
