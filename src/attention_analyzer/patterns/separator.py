from __future__ import annotations

from attention_analyzer.patterns.in_group import InGroup


class Separator(InGroup):
    """Mean weight on the special tokens that divide or end texts, such as [SEP] (Clark et al. 2019, §3.2)."""

    name = "separator"
    title = "uses separators as a sink"
    place = "on {which}"
    group = "separator"
