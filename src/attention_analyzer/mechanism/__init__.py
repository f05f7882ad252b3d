"""What heads write, why they look where they look, and which of them do it: on the model as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_analyzer.lazy import lazily

if TYPE_CHECKING:
    from attention_analyzer.mechanism.circuit import circuit
    from attention_analyzer.mechanism.circuit_result import Circuit
    from attention_analyzer.mechanism.effects import effects
    from attention_analyzer.mechanism.effects_result import Effects
    from attention_analyzer.mechanism.patching import patch
    from attention_analyzer.mechanism.patching_result import Patching
    from attention_analyzer.mechanism.why import why
    from attention_analyzer.mechanism.why_result import Why

__all__ = ["Circuit", "Effects", "Patching", "Why", "circuit", "effects", "patch", "why"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Effects": "attention_analyzer.mechanism.effects_result",
        "Why": "attention_analyzer.mechanism.why_result",
        "Patching": "attention_analyzer.mechanism.patching_result",
        "Circuit": "attention_analyzer.mechanism.circuit_result",
        "circuit": "attention_analyzer.mechanism.circuit",
        "effects": "attention_analyzer.mechanism.effects",
        "patch": "attention_analyzer.mechanism.patching",
        "why": "attention_analyzer.mechanism.why",
    },
)
