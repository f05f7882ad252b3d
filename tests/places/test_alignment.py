"""Words of a sound get the times at which they sound, and silences belong to none."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError, TooLongError
from demo_models import tones


@pytest.fixture(scope="module")
def listener() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-listener", cache=False)


def test_digits_have_their_times(listener: AttentionAnalyzer) -> None:
    generator = random.Random(5)
    near = []
    for _ in range(12):
        example = tones.example(generator, held_out=True)
        words = listener.record(tones.text_of(example.digits), audio=(example.sound, tones.RATE)).align()
        assert "".join(words["word"]) == example.digits
        for row, (start, stop) in zip(words.itertuples(), example.times, strict=True):
            near.append(max(abs(row.start - start), abs(row.stop - stop)) <= 0.02)
    assert np.mean(near) > 0.85


def test_the_model_writes_what_it_hears(listener: AttentionAnalyzer) -> None:
    example = tones.example(random.Random(8), held_out=True)
    record = listener.record(audio=(example.sound, tones.RATE))
    assert record.target_tokens.pieces[0] == "<|startoftranscript|>"
    assert "".join(record.target_tokens.pieces[2:]) == example.digits
    words = listener.record(tones.text_of(example.digits), audio=(example.sound, tones.RATE))
    assert words.target_tokens.pieces == record.target_tokens.pieces


def test_the_weight_of_a_word_over_time(listener: AttentionAnalyzer) -> None:
    example = tones.example(random.Random(8), held_out=True)
    record = listener.record(tones.text_of(example.digits), audio=(example.sound, tones.RATE))
    line = record.timeline(2, layer=1, head=0)
    assert line["weight"].sum() == pytest.approx(1, abs=1e-4)
    assert (line["stop"] - line["start"]).iloc[5:].to_numpy() == pytest.approx(0.02)


def test_what_has_no_times(listener: AttentionAnalyzer) -> None:
    with pytest.raises(TooLongError, match=r"5\.0 seconds, but the model reads 4"):
        listener.record(audio=(np.random.default_rng(0).standard_normal(5 * 16_000), 16_000))
    text = AttentionAnalyzer("demo-encoder", cache=False).record("two words")
    with pytest.raises(InputError, match="aligned to a sound"):
        text.align()
