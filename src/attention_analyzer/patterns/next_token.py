from __future__ import annotations

from attention_analyzer.patterns.at_offset import AtOffset


class NextToken(AtOffset):
    """Mean weight on the token just after (Clark et al. 2019, §3.1)."""

    name = "next_token"
    title = "looks at the token after"
    place = "on the token after"
    offset = 1
