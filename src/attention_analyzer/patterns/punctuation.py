from __future__ import annotations

from attention_analyzer.patterns.in_group import InGroup


class Punctuation(InGroup):
    """Mean weight on punctuation (Clark et al. 2019, §3.2)."""

    name = "punctuation"
    title = "looks at punctuation"
    place = "on punctuation"
    group = "punctuation"
