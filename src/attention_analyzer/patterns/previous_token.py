from __future__ import annotations

from attention_analyzer.patterns.at_offset import AtOffset


class PreviousToken(AtOffset):
    """Mean weight on the token just before (Clark et al. 2019, §3.1; Olsson et al. 2022)."""

    name = "previous_token"
    title = "looks at the token before"
    place = "on the token before"
    offset = -1
