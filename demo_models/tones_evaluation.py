"""What the listener reaches on numbers that it was not trained on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, WhisperForConditionalGeneration

from demo_models import tones

SOUNDS = 300


def measure(folder: Path) -> dict[str, Any]:
    """Exact numbers, written freely, of ``SOUNDS`` held-out sounds."""
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    read = AutoProcessor.from_pretrained(folder)
    generator = random.Random(1)
    examples = [tones.example(generator, held_out=True) for _ in range(SOUNDS)]
    features = read(audio=[e.sound for e in examples], sampling_rate=tones.RATE, return_tensors="pt")["input_features"]
    written = model.generate(input_features=features, do_sample=False)
    texts = read.batch_decode(written, skip_special_tokens=True)
    right = [text == tones.text_of(e.digits) for text, e in zip(texts, examples, strict=True)]
    return {"exact": sum(right) / len(right), "sounds": SOUNDS}
