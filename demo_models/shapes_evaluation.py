"""What the captioner reaches on images of combinations that it was not trained on, and where it looks.

    python -m demo_models.shapes_evaluation  # measures the bundled model again, in about ten minutes on one core

Each method says of every color and shape that a caption names which cell it came from. A method is right where the
middle of that cell lies inside the shape. Read by single cells, attention often has its maximum in a cell beside the
shape; read by windows of 3 × 3 cells it has it inside.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, VisionEncoderDecoderModel

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution.context import Question, ask
from attention_analyzer.attribution.covering import CellDeleter
from attention_analyzer.attribution.deletion import DeletionKind
from attention_analyzer.attribution.faithfulness import Trial, random_orders
from attention_analyzer.attribution.occlusion import Occlusion
from attention_analyzer.attribution.registry import attribution_named
from attention_analyzer.attribution.target import Layout, Target, VocabularyTarget
from attention_analyzer.media_recording import read_media
from attention_analyzer.places.heat import smoothed
from attention_analyzer.text.place import ImageCell
from demo_models import shapes

IMAGES = 300
#: Images on which methods are tested by covering cells, too, and random orders to compare with.
TESTED, RANDOM_ORDERS = 25, 20
WINDOW = 3
KINDS: tuple[DeletionKind, ...] = ("mean", "blur", "noise")
METHODS = ("last_layer", "rollout", "gradient_attention")
MEAN, BEST = "attention, mean of all heads", "attention, best head of other images"


@dataclass(frozen=True)
class EachWord(Target):
    """The probability of every word of a caption, measured together: ``[row, word]``."""

    measured: ClassVar[str] = "probability"

    ids: tuple[int, ...]

    def values(self, outputs: Any, layout: Layout) -> Tensor:
        return self.measures(outputs, layout)

    def measures(self, outputs: Any, layout: Layout) -> Tensor:
        entries = torch.tensor(self.ids[1:]).expand(len(outputs.logits), -1)
        return outputs.logits[:, :-1].float().softmax(-1).gather(-1, entries[..., None])[..., 0]


def measure(folder: Path) -> dict[str, Any]:
    """Exact captions, written freely; where each method looks, and how far covering cells by its order bears it out."""
    generator = random.Random(1)
    examples = [shapes.example(generator, held_out=True) for _ in range(IMAGES)]
    analyzer = AttentionAnalyzer(str(folder), cache=False)
    return {
        "exact": _exact(folder, examples),
        "images": IMAGES,
        **_where(analyzer, examples),
        "tested": TESTED,
        "faithfulness": _faithfulness(analyzer, examples[:TESTED]),
    }


def _exact(folder: Path, examples: list[shapes.Example]) -> float:
    model = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32).eval()
    read = AutoProcessor.from_pretrained(folder)
    pixels = read(images=[e.image for e in examples], return_tensors="pt")["pixel_values"]
    written = model.generate(pixel_values=pixels, do_sample=False)
    captions = read.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    right = [caption == e.caption for caption, e in zip(captions, examples, strict=True)]
    return sum(right) / len(right)


def _where(analyzer: AttentionAnalyzer, examples: list[shapes.Example]) -> dict[str, Any]:
    """Per method, the share of words whose best cell, and whose best window, lies inside the named shape."""
    hits: dict[str, list[tuple[bool, bool]]] = {}
    elsewhere: list[bool] = []
    by_head: list[list[np.ndarray]] = [[], []]
    for number, example in enumerate(examples):
        question = _asked(analyzer, example)
        places = question.tokens.places
        other = examples[number - 1].regions
        heads = np.concatenate([at.weights[:].numpy() for at in question.sites if at.queries != at.keys])
        covered = _occlusions(question)
        for query, shape in _named_words(example):
            inside = np.array([isinstance(each, ImageCell) and _holds(example.regions[shape], each) for each in places])
            found = {MEAN: heads[:, query].mean(0), **_by_methods(question, query, covered)}
            for name, values in found.items():
                best = [_best(places, values, size) for size in (1, WINDOW)]
                hits.setdefault(name, []).append((bool(inside[best[0]]), bool(inside[best[1]])))
            at = places[_best(places, found["rollout"], WINDOW)]
            assert isinstance(at, ImageCell)
            elsewhere.append(_holds(other[min(shape, len(other) - 1)], at))
            each = [[inside[_best(places, row, size)] for size in (1, WINDOW)] for row in heads[:, query]]
            by_head[number % 2].append(np.array(each))
    halves = [np.array(half) for half in by_head]  # [word, head, cell or window]
    best_heads = []
    for size in (0, 1):
        chosen = [int(half[:, :, size].mean(0).argmax()) for half in halves]
        best_heads.append(np.concatenate([halves[0][:, chosen[1], size], halves[1][:, chosen[0], size]]).mean())
    inside_of = {name: {"cell": _share(each, 0), "window": _share(each, 1)} for name, each in hits.items()}
    inside_of[BEST] = {"cell": float(best_heads[0]), "window": float(best_heads[1])}
    return {"inside": inside_of, "of_other_image": float(np.mean(elsewhere)), "words": len(elsewhere)}


def _asked(analyzer: AttentionAnalyzer, example: shapes.Example) -> Question:
    """The image with its caption as the target, each word of it asked for."""
    question = ask(analyzer.loaded, read_media(images=[example.image], text=example.caption), "sequence")
    assert question.prepared.target is not None
    return replace(question, target=EachWord("each word", question.prepared.target[0].ids))


def _occlusions(question: Question) -> dict[str, np.ndarray]:
    """What covering cells says of every word: ``[word, token]``."""
    return {f"occlusion, {kind}": Occlusion(WINDOW, kind).find(question).raw.T.numpy() for kind in KINDS}


def _by_methods(question: Question, query: int, covered: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each method says of one word: ``[token]``."""
    assert isinstance(question.target, EachWord)
    target = VocabularyTarget("a word", query, question.target.ids[query + 1], moves=False)
    of_word = replace(question, target=target)
    found = {name: attribution_named(name).find(of_word).raw.numpy() for name in METHODS}
    return found | {name: values[query] for name, values in covered.items()}


def _faithfulness(analyzer: AttentionAnalyzer, examples: list[shapes.Example]) -> dict[str, Any]:
    """Per way to cover cells and method: means of comprehensiveness, sufficiency and the area of the deletion curve."""
    told: dict[str, dict[str, list[tuple[float, float, float]]]] = {kind: {} for kind in KINDS}
    for number, example in enumerate(examples):
        question = _asked(analyzer, example)
        assert isinstance(question.target, EachWord)
        words = list(_named_words(example))
        query, _ = words[number % len(words)]
        target = VocabularyTarget("a word", query, question.target.ids[query + 1], moves=False)
        cells = [at for at, place in enumerate(question.tokens.places) if isinstance(place, ImageCell)]
        orders = {
            name: np.argsort(-raw[cells], kind="stable")
            for name, raw in _by_methods(question, query, _occlusions(question)).items()
        }
        for kind in KINDS:
            deleter = CellDeleter(replace(question, target=target), kind)
            trial = Trial(deleter, tuple((at,) for at in cells), len(question.tokens))
            rows = [order.tolist() for order in orders.values()]
            judged = trial.judge([*rows, *random_orders(len(cells), RANDOM_ORDERS, number)])
            for name, one in zip([*orders, *["random order"] * RANDOM_ORDERS], judged, strict=True):
                told[kind].setdefault(name, []).append((one.comprehensiveness, one.sufficiency, one.area))
    return {
        kind: {name: [round(float(each), 4) for each in np.mean(rows, axis=0)] for name, rows in methods.items()}
        for kind, methods in told.items()
    }


def _best(places: tuple[Any, ...], values: np.ndarray, size: int) -> int:
    """The cell with the largest value, or the middle of the best window."""
    found = smoothed(places, values, size)
    cells = [at for at, place in enumerate(places) if isinstance(place, ImageCell)]
    return cells[int(found[cells].argmax())]


def _share(hits: list[tuple[bool, bool]], which: int) -> float:
    return float(np.mean([each[which] for each in hits]))


def _named_words(example: shapes.Example) -> Iterator[tuple[int, int]]:
    """The query that decides each color and shape, and the number of the shape; articles say nothing."""
    for position, (word, shape) in enumerate(zip(example.caption.split(), example.shape_of, strict=True)):
        if shape is not None and word not in ("a", "an"):
            yield position, shape


def _holds(region: np.ndarray, cell: ImageCell) -> bool:
    """Whether the middle of a cell lies inside a shape."""
    left, top, right, bottom = cell.box
    return bool(region[int((top + bottom) / 2), int((left + right) / 2)])


if __name__ == "__main__":
    import sys

    from demo_models import cards, publishing

    bundled = Path(sys.argv[1]) if len(sys.argv) > 1 else publishing.BUNDLED / "demo-captioner"
    publishing.record(bundled, measure(bundled))
    cards.write_card(bundled)
