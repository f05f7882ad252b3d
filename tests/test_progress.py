"""How long work tells how far it is, and is ended by whoever it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.comparison import compare
from attention_analyzer.progress import ProgressCounter

TEXTS = ["The cat sat on the mat.", "Anna gave Tom the red book.", "A bird sings, and it stops.", "He went home."]


class EndedError(Exception):
    """Raised by a listener."""


def test_parts_count_within_the_whole() -> None:
    told: list[tuple[int, int]] = []
    steps = ProgressCounter(10, lambda *step: told.append(step))
    steps.advance(4)
    part = steps.within(5)
    part(0, 3)
    part(2, 3)
    part(3, 3)
    steps.advance()
    assert told == [(0, 10), (4, 10), (4, 10), (7, 10), (9, 10), (10, 10)]
    ProgressCounter(3, None).advance()


@pytest.fixture(scope="module")
def analyzer() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


LONG_TEXTS = [f"{text} {' '.join(TEXTS)} {' '.join(TEXTS)}" for text in TEXTS]
LONG: dict[str, Callable[[AttentionAnalyzer, Any], object]] = {
    "label_heads": lambda analyzer, tell: analyzer.label_heads(TEXTS, progress=tell),
    "cache advice": lambda analyzer, tell: analyzer.cache_advice(LONG_TEXTS, first=[1], last=[4, 8], progress=tell),
    "similarity": lambda analyzer, tell: analyzer.similarity(TEXTS, progress=tell),
    "depth_profile": lambda analyzer, tell: analyzer.depth_profile(TEXTS, progress=tell),
    "importance": lambda analyzer, tell: analyzer.head_importance(TEXTS, progress=tell),
    "attributions": lambda analyzer, tell: analyzer.compare_attributions(
        TEXTS[0], methods=["received", "rollout"], progress=tell
    ),
    "comparison": lambda analyzer, tell: compare(analyzer, texts=TEXTS, other_texts=TEXTS[::-1], progress=tell),
}


@pytest.mark.parametrize("name", LONG)
def test_all_of_it_is_told_and_nothing_goes_back(analyzer: AttentionAnalyzer, name: str) -> None:
    told: list[tuple[int, int]] = []
    LONG[name](analyzer, lambda *step: told.append(step))
    done, totals = zip(*told, strict=True)
    assert len(set(totals)) == 1
    assert done[0] == 0
    assert done[-1] == totals[0]
    assert list(done) == sorted(done)
    assert len(set(done)) > 1


@pytest.mark.parametrize("name", LONG)
def test_a_listener_ends_it_and_the_model_is_as_before(analyzer: AttentionAnalyzer, name: str) -> None:
    before = analyzer.record(TEXTS[0]).weights(4, 2)[:].clone()

    def end(done: int, total: int) -> None:
        if done:
            raise EndedError

    with pytest.raises(EndedError):
        LONG[name](analyzer, end)
    assert (analyzer.record(TEXTS[0]).weights(4, 2)[:] == before).all()
