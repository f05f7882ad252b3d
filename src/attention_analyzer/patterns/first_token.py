from __future__ import annotations

from attention_analyzer.patterns.in_group import InGroup


class FirstToken(InGroup):
    """Mean weight on the first token of the sequence: an attention sink (Xiao et al. 2023)."""

    name = "first_token"
    title = "uses the first token as a sink"
    place = "on {which}"
    group = "first"
