"""A name, a path or an object becomes a model with its tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.models.catalog import Available, available
    from attention_analyzer.models.loaded import LoadedModel
    from attention_analyzer.models.loading import load_model

__all__ = ["Available", "LoadedModel", "available", "load_model"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Available": "attention_analyzer.models.catalog",
        "LoadedModel": "attention_analyzer.models.loaded",
        "available": "attention_analyzer.models.catalog",
        "load_model": "attention_analyzer.models.loading",
    },
)
