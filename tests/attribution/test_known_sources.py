"""The translator's digits come from known words: which methods point to them?"""

from __future__ import annotations

import random

import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution import attribution_named
from attention_analyzer.attribution.context import ask
from demo_models import dates


def test_gradients_point_to_the_word_that_a_digit_comes_from() -> None:
    """The day and the year's last two digits, which no other word tells, against what a random position would score."""
    analyzer = AttentionAnalyzer("demo-translator", cache=False)
    generator = random.Random(2026)
    hits, chances = [], []
    for _ in range(4):
        one = dates.example(generator, held_out=True)
        for at in (3, 9):
            asked = ask(analyzer.loaded, (one.text, one.target), f"position:{at + 1}")
            assert asked.target.label.startswith(f"'{one.target[at]}'")
            raw = attribution_named("gradient_attention").find(asked).raw[: len(one.pieces)]
            hits.append(int(raw.argmax()) in one.sources[at])
            chances.append(len(one.sources[at]) / len(one.pieces))
    assert sum(hits) / len(hits) > 3 * sum(chances) / len(chances)
    assert sum(chances) / len(chances) == pytest.approx(0.08, abs=0.05)
