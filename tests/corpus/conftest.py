"""A small encoder of its own, so that scans take a blink; and texts that the tests write."""

from __future__ import annotations

import pytest

from attention_analyzer.analyzer import AttentionAnalyzer
from tests.linguistics.test_questions import bert, llama
from tests.linguistics.treebank import NOUNS, VERBS


@pytest.fixture(scope="session")
def small() -> AttentionAnalyzer:
    """2 layers of 3 heads, 40 positions."""
    return AttentionAnalyzer.of(bert(), cache=False)


@pytest.fixture(scope="session")
def causal() -> AttentionAnalyzer:
    return AttentionAnalyzer.of(llama(), cache=False)


def sentences(count: int) -> list[str]:
    """Sentences of several lengths, no two of them alike up to 300."""
    made = []
    for number in range(count):
        first, second = NOUNS[number % 7], NOUNS[(number // 7) % 8]
        middle = " very" * (number % 5) + (" . The bird" if number % 3 == 0 else "")
        made.append(f"The{middle} big {first} {VERBS[number % 5]} a {second} .")
    return made
