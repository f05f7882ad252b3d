from __future__ import annotations

from attention_analyzer.patterns.in_group import InGroup


class SpecialToken(InGroup):
    """Mean weight on special tokens such as [CLS], [SEP] and <s> (Clark et al. 2019, §3.2)."""

    name = "special_token"
    title = "uses special tokens as a sink"
    place = "on special tokens"
    group = "special"
