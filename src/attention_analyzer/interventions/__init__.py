"""Changing what heads look at, through the tap, and what that does to the prediction.

An *effect* is what an intervention changed. The model is never written to.
"""

from __future__ import annotations

from attention_analyzer.interventions.edges import KnockOut
from attention_analyzer.interventions.result import WhatIf
from attention_analyzer.interventions.what_if import what_if

__all__ = ["KnockOut", "WhatIf", "what_if"]
