"""What the captioner reaches on images of combinations that it was not trained on, and where it looks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, VisionEncoderDecoderModel

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.text.place import ImageCell
from demo_models import shapes

IMAGES = 300
#: Names of a method on the card.
MEAN, BEST, DELETION = "attention, mean of all heads", "attention, best head of other images", "deletion of cells"


def measure(folder: Path) -> dict[str, Any]:
    """Exact captions, written freely, and the share of words whose strongest cell lies inside the named shape."""
    generator = random.Random(1)
    examples = [shapes.example(generator, held_out=True) for _ in range(IMAGES)]
    return {"exact": _exact(folder, examples), "images": IMAGES, **_where(folder, examples)}


def _exact(folder: Path, examples: list[shapes.Example]) -> float:
    model = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32).eval()
    read = AutoProcessor.from_pretrained(folder)
    pixels = read(images=[e.image for e in examples], return_tensors="pt")["pixel_values"]
    written = model.generate(pixel_values=pixels, do_sample=False)
    captions = read.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    right = [caption == e.caption for caption, e in zip(captions, examples, strict=True)]
    return sum(right) / len(right)


def _where(folder: Path, examples: list[shapes.Example]) -> dict[str, Any]:
    analyzer = AttentionAnalyzer(str(folder), cache=False)
    hits: dict[str, list[bool]] = {MEAN: [], DELETION: []}
    by_head: list[list[np.ndarray]] = [[], []]
    elsewhere: list[bool] = []
    for number, example in enumerate(examples):
        record = analyzer.record(example.caption, image=example.image)
        cells = [place for place in record.entry(0, kind="cross").keys.places if isinstance(place, ImageCell)]
        weights = _weights(record)  # [layer and head, query, cell]
        drops = _drops(analyzer, record, example, cells)
        other = examples[number - 1].regions
        for query, shape in _named_words(example):
            inside = np.array([_holds(example.regions[shape], cell) for cell in cells])
            hits[MEAN].append(bool(inside[weights[:, query].mean(0).argmax()]))
            hits[DELETION].append(bool(inside[drops[query].argmax()]))
            by_head[number % 2].append(inside[weights[:, query].argmax(-1)])
            elsewhere.append(_holds(other[min(shape, len(other) - 1)], cells[int(drops[query].argmax())]))
    halves = [np.array(half) for half in by_head]
    chosen = [int(half.mean(0).argmax()) for half in halves]
    best = np.concatenate([halves[0][:, chosen[1]], halves[1][:, chosen[0]]])
    inside_of = {name: float(np.mean(found)) for name, found in hits.items()} | {BEST: float(best.mean())}
    return {"inside": inside_of, "of_other_image": float(np.mean(elsewhere)), "words": len(elsewhere)}


def _named_words(example: shapes.Example) -> Iterator[tuple[int, int]]:
    """The query that decides each color and shape, and the number of the shape; articles say nothing."""
    for position, (word, shape) in enumerate(zip(example.caption.split(), example.shape_of, strict=True)):
        if shape is not None and word not in ("a", "an"):
            yield position, shape


def _weights(record: AttentionRecord) -> np.ndarray:
    entries = [entry for entry in record.entries if entry.site.kind == "cross"]
    kept = [number for number, place in enumerate(entries[0].keys.places) if isinstance(place, ImageCell)]
    return np.concatenate([entry.weights[:].numpy() for entry in entries])[:, :, kept]


def _drops(
    analyzer: AttentionAnalyzer, record: AttentionRecord, example: shapes.Example, cells: list[ImageCell]
) -> np.ndarray:
    """How much less likely each word is without each cell, in nats: ``[word, cell]``; cells become the mean color."""
    pixels = np.asarray(example.image)
    mean = pixels.reshape(-1, 3).mean(0)
    variants = [pixels]
    for cell in cells:
        left, top, right, bottom = (round(side) for side in cell.box)
        changed = pixels.copy()
        changed[top:bottom, left:right] = mean
        variants.append(changed)
    values = analyzer.loaded.need_processor()(images=variants, return_tensors="pt")["pixel_values"]
    ids = torch.tensor([record.target_tokens.ids])
    with torch.no_grad():
        logits = analyzer.model(pixel_values=values, decoder_input_ids=ids.expand(len(values), -1)).logits
    found = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None].expand(len(values), -1, 1))[..., 0]
    return (found[0] - found[1:]).T.numpy()


def _holds(region: np.ndarray, cell: ImageCell) -> bool:
    """Whether the middle of a cell lies inside a shape."""
    left, top, right, bottom = cell.box
    return bool(region[int((top + bottom) / 2), int((left + right) / 2)])
