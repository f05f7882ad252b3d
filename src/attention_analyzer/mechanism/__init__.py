"""What heads write, why they look where they look, and which of them do it: on the model as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.mechanism.circuit import circuit
    from attention_analyzer.mechanism.circuit_result import Circuit
    from attention_analyzer.mechanism.compositions import compositions
    from attention_analyzer.mechanism.compositions_result import Compositions
    from attention_analyzer.mechanism.contrast import contrast, token_pairs
    from attention_analyzer.mechanism.contrast_result import ContrastDirections
    from attention_analyzer.mechanism.effects import effects
    from attention_analyzer.mechanism.effects_result import Effects
    from attention_analyzer.mechanism.patching import patch
    from attention_analyzer.mechanism.patching_result import Patching
    from attention_analyzer.mechanism.why import why
    from attention_analyzer.mechanism.why_result import Why
    from attention_analyzer.mechanism.writes import writes
    from attention_analyzer.mechanism.writes_result import HeadWrites

__all__ = [
    "Circuit",
    "Compositions",
    "ContrastDirections",
    "Effects",
    "HeadWrites",
    "Patching",
    "Why",
    "circuit",
    "compositions",
    "contrast",
    "effects",
    "patch",
    "token_pairs",
    "why",
    "writes",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Compositions": "attention_analyzer.mechanism.compositions_result",
        "ContrastDirections": "attention_analyzer.mechanism.contrast_result",
        "Effects": "attention_analyzer.mechanism.effects_result",
        "HeadWrites": "attention_analyzer.mechanism.writes_result",
        "Why": "attention_analyzer.mechanism.why_result",
        "Patching": "attention_analyzer.mechanism.patching_result",
        "Circuit": "attention_analyzer.mechanism.circuit_result",
        "circuit": "attention_analyzer.mechanism.circuit",
        "compositions": "attention_analyzer.mechanism.compositions",
        "contrast": "attention_analyzer.mechanism.contrast",
        "token_pairs": "attention_analyzer.mechanism.contrast",
        "effects": "attention_analyzer.mechanism.effects",
        "patch": "attention_analyzer.mechanism.patching",
        "why": "attention_analyzer.mechanism.why",
        "writes": "attention_analyzer.mechanism.writes",
    },
)
