"""What every attention head of a transformer does: exact, at any length, under the model's own backend.

    >>> from attention_analyzer import AttentionAnalyzer
    >>> record = AttentionAnalyzer("demo-encoder").record("The quick brown fox jumps over the lazy dog")
    >>> record.heads()  # one row per head, one column per metric

Public names are imported when they are first used, so that ``import attention_analyzer`` loads neither torch nor
transformers; ``tests/test_public_surface.py`` pins both the names and that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily
from attention_analyzer.result import present_with

if TYPE_CHECKING:
    from attention_analyzer import errors
    from attention_analyzer.analyzer import AttentionAnalyzer
    from attention_analyzer.capturing import capture
    from attention_analyzer.comparison import compare, compare_models
    from attention_analyzer.linguistics import read_annotated
    from attention_analyzer.models import load_model
    from attention_analyzer.record import AttentionRecord
    from attention_analyzer.site import Site
    from attention_analyzer.text.tokens import Tokens

__version__ = "0.1.0"

__all__ = [
    "AttentionAnalyzer",
    "AttentionRecord",
    "Site",
    "Tokens",
    "__version__",
    "capture",
    "compare",
    "compare_models",
    "errors",
    "load_model",
    "read_annotated",
]

__getattr__, _ = lazily(
    __name__,
    {
        "AttentionAnalyzer": "attention_analyzer.analyzer",
        "AttentionRecord": "attention_analyzer.record",
        "Site": "attention_analyzer.site",
        "Tokens": "attention_analyzer.text.tokens",
        "capture": "attention_analyzer.capturing",
        "compare": "attention_analyzer.comparison",
        "compare_models": "attention_analyzer.comparison",
        "errors": "attention_analyzer.errors",
        "load_model": "attention_analyzer.models",
        "read_annotated": "attention_analyzer.linguistics",
    },
    renamed={"compare_several": "compare_models"},
)

# Results are drawn by a package above them, which is imported with the first figure.
present_with(lambda: import_module("attention_analyzer.plots"))


def __dir__() -> list[str]:
    return __all__
