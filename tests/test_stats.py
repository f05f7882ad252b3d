from __future__ import annotations

import math

import numpy as np
import pytest

from attention_analyzer.stats import benjamini_hochberg, holm, p_better, share_interval, wilson


def test_wilson_agrees_with_its_definition() -> None:
    low, high = wilson(0.3, 50)
    for bound in (low, high):
        # The bounds are the shares from which 0.3 is 1.96 standard errors away.
        assert abs(0.3 - bound) / math.sqrt(bound * (1 - bound) / 50) == pytest.approx(1.959964, abs=1e-5)
    assert wilson(0, 10)[0] == 0
    assert wilson(1, 10)[1] == pytest.approx(1)


def test_sentences_and_not_words_are_the_evidence() -> None:
    rng = np.random.default_rng(0)
    alone = rng.random(400) < 0.5
    sentence = np.arange(400)
    independent = share_interval(alone, sentence)
    # The same, but all five words of a sentence are right or wrong together.
    together = share_interval(np.repeat(alone, 5), np.repeat(sentence, 5))
    assert np.diff(together) == pytest.approx(np.diff(independent), rel=0.02)
    assert share_interval(np.ones(30, bool), np.arange(30) // 10)[0] == pytest.approx(wilson(1, 3)[0])
    assert all(map(math.isnan, share_interval(np.zeros(0, bool), np.zeros(0, int))))


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        # Sentences differ in difficulty, so words of a sentence are alike.
        easy = np.repeat(rng.beta(1.4, 0.6, 80), 12)
        low, high = share_interval(rng.random(960) < easy, np.repeat(np.arange(80), 12))
        covered += low <= 0.7 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_p_is_small_for_better_and_uniform_for_equal_predictors() -> None:
    rng = np.random.default_rng(2)
    sentence = np.repeat(np.arange(100), 4)
    baseline = rng.random(400) < 0.5
    heads = np.stack([rng.random(400) < 0.7, rng.random(400) < 0.3, baseline], axis=1)
    p = p_better(heads, baseline, sentence)
    assert p[0] < 1e-4
    assert p[1] > 0.999
    assert p[2] == 1
    equal = np.array(
        [p_better((rng.random(400) < 0.5)[:, None], rng.random(400) < 0.5, sentence)[0] for _ in range(600)]
    )
    assert 0.03 <= (equal < 0.05).mean() <= 0.08
    assert p_better(heads[:4], baseline[:4], sentence[:4]).tolist() == [1, 1, 1]


def test_corrections_agree_with_their_definitions() -> None:
    p = np.array([[0.01, 0.04], [0.03, 0.005]])
    assert holm(p) == pytest.approx(np.array([[0.03, 0.06], [0.06, 0.02]]))
    assert benjamini_hochberg(p) == pytest.approx(np.array([[0.02, 0.04], [0.04, 0.02]]))
    rng = np.random.default_rng(3)
    false = [(holm(rng.random(144)) <= 0.05).any() for _ in range(1000)]
    assert 0.03 <= np.mean(false) <= 0.07
