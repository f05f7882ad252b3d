"""What the captioner reaches on images of combinations that it was not trained on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, VisionEncoderDecoderModel

from demo_models import shapes

IMAGES = 300


def measure(folder: Path) -> dict[str, Any]:
    """Exact captions, written freely, of ``IMAGES`` held-out images."""
    model = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32).eval()
    read = AutoProcessor.from_pretrained(folder)
    generator = random.Random(1)
    examples = [shapes.example(generator, held_out=True) for _ in range(IMAGES)]
    pixels = read(images=[e.image for e in examples], return_tensors="pt")["pixel_values"]
    written = model.generate(pixel_values=pixels, do_sample=False)
    captions = read.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    right = [caption == e.caption for caption, e in zip(captions, examples, strict=True)]
    return {"exact": sum(right) / len(right), "images": IMAGES}
