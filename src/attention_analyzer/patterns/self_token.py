from __future__ import annotations

from attention_analyzer.patterns.at_offset import AtOffset


class SelfToken(AtOffset):
    """Mean weight of a token on itself: the diagonal (Kovaleva et al. 2019, §4.1)."""

    name = "self"
    title = "looks at the token itself"
    place = "on itself"
    offset = 0
