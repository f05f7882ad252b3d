"""What the listener reaches on numbers that it was not trained on, and when it says that each digit sounds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, WhisperForConditionalGeneration

from attention_analyzer import AttentionAnalyzer
from demo_models import tones

SOUNDS = 300
#: Seconds of a token of the encoder.
FRAME = 0.02


def measure(folder: Path) -> dict[str, Any]:
    """Exact numbers, written freely, and the times of the true digits against the sound's own."""
    generator = random.Random(1)
    examples = [tones.example(generator, held_out=True) for _ in range(SOUNDS)]
    return {"exact": _exact(folder, examples), "sounds": SOUNDS, **_times(folder, examples)}


def _exact(folder: Path, examples: list[tones.Example]) -> float:
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    read = AutoProcessor.from_pretrained(folder)
    features = read(audio=[e.sound for e in examples], sampling_rate=tones.RATE, return_tensors="pt")["input_features"]
    written = model.generate(input_features=features, do_sample=False)
    texts = read.batch_decode(written, skip_special_tokens=True)
    right = [text == tones.text_of(e.digits) for text, e in zip(texts, examples, strict=True)]
    return sum(right) / len(right)


def _times(folder: Path, examples: list[tones.Example]) -> dict[str, Any]:
    analyzer = AttentionAnalyzer(str(folder), cache=False)
    errors = []
    for example in examples:
        words = analyzer.record(tones.text_of(example.digits), audio=(example.sound, tones.RATE)).align()
        for row, (start, stop) in zip(words.itertuples(), example.times, strict=True):
            errors.append(max(abs(row.start - start), abs(row.stop - stop)))
    return {
        "words": len(errors),
        "within_one_frame": float(np.mean(np.array(errors) <= FRAME)),
        "median_error_ms": 1000 * float(np.median(errors)),
    }
