"""Cells of images and stretches of sounds: scored by the methods for tokens, and deleted in the original."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.attribution.comparison import USUAL_OF_MEDIA
from attention_analyzer.attribution.context import ask
from attention_analyzer.attribution.covering import CellDeleter, windows
from attention_analyzer.attribution.occlusion import Occlusion
from attention_analyzer.errors import InputError, SelectionError, UnsupportedModelError
from attention_analyzer.media_recording import read_media
from attention_analyzer.places.heat import smoothed
from attention_analyzer.text.place import ImageCell, SoundSpan
from demo_models import shapes, tones
from tests.places import models


@pytest.fixture(scope="module")
def captioner() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-captioner", cache=False)


@pytest.fixture(scope="module")
def example() -> shapes.Example:
    generator = random.Random(3)
    while True:
        found = shapes.example(generator, held_out=True)
        if len(found.regions) == 2:
            return found


@pytest.mark.parametrize("method", ["rollout", "gradient_attention", "last_layer", "occlusion"])
def test_a_color_comes_from_its_shape(captioner: AttentionAnalyzer, example: shapes.Example, method: str) -> None:
    for number, word in ((0, 1), (1, 5)):  # "a red circle and a blue square"
        found = captioner.token_importance(
            example.caption, method, image=example.image, target=f"position:{word + 1}", special="exclude"
        )
        assert sum(found.scores) == pytest.approx(1)
        heat = found.heat(smooth=3)
        assert heat.shape == (shapes.SIDE, shapes.SIDE)
        assert example.regions[number][np.unravel_index(heat.argmax(), heat.shape)]


def test_windows_of_heat_find_the_named_shape(captioner: AttentionAnalyzer) -> None:
    generator = random.Random(11)
    hits = []
    for _ in range(12):
        example = shapes.example(generator, held_out=True)
        record = captioner.record(example.caption, image=example.image)
        for position, (word, shape) in enumerate(zip(example.caption.split(), example.shape_of, strict=True)):
            if shape is not None and word not in ("a", "an"):
                heat = record.heat(position + 1, smooth=3)
                top, left = np.unravel_index(heat.argmax(), heat.shape)
                hits.append(example.regions[shape][top + 8, left + 8])  # the middle of the cell
    assert len(hits) > 40
    assert np.mean(hits) >= 0.9


def test_rollout_of_cells_is_the_product_of_matrices(captioner: AttentionAnalyzer, example: shapes.Example) -> None:
    found = captioner.token_importance(example.caption, "rollout_unadjusted", image=example.image, target="position:3")
    record = captioner.record(example.caption, image=example.image)
    carried = {"source": torch.eye(101).double(), "target": torch.eye(len(record.target_tokens)).double()}
    start = torch.zeros(len(record.target_tokens)).double()
    start[2] = 1
    vectors = {"target": start}
    for entry in reversed(record.entries):
        mean = entry.weights[:].double().mean(0)
        queries = "target" if entry.site.tower == "decoder" else "source"
        keys = "source" if entry.site.kind == "cross" or queries == "source" else "target"
        half = vectors[queries] / 2
        vectors[queries] = half
        vectors[keys] = vectors.get(keys, torch.zeros(len(carried[keys])).double()) + half @ mean
    np.testing.assert_allclose(found.raw_of_all, vectors["source"], atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "noise"])
def test_covered_cells_are_those_of_an_image_painted_by_hand(
    captioner: AttentionAnalyzer, example: shapes.Example, kind: str
) -> None:
    question = ask(captioner.loaded, read_media(images=[example.image], text=example.caption), "position:2")
    deleter = CellDeleter(question, kind)
    gone = [1, 12, 13, 57]
    kept = torch.ones(2, len(question.tokens), dtype=torch.bool)
    kept[1, gone] = False
    whole, covered = deleter.measures(kept).tolist()

    pixels = np.array(example.image)
    colors = pixels.reshape(-1, 3)
    fill = np.broadcast_to(colors.mean(0).round(), pixels.shape)
    if kind == "noise":
        fill = np.random.default_rng(0).permutation(colors).reshape(pixels.shape)
    for token in gone:
        row, column = divmod(token - 1, 10)
        part = slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)
        pixels[part] = fill[part]
    ids = torch.tensor([question.prepared.target[0].ids])
    read = captioner.loaded.need_processor()
    for image, measured in ((example.image, whole), (Image.fromarray(pixels), covered)):
        with torch.no_grad():
            values = read(images=[image], return_tensors="pt")["pixel_values"]
            logits = captioner.model(pixel_values=values, decoder_input_ids=ids).logits
        assert measured == pytest.approx(float(logits[0, 1].softmax(-1)[ids[0, 2]]), abs=1e-5)


def test_occlusion_is_the_mean_fall_over_the_windows_of_a_cell(
    captioner: AttentionAnalyzer, example: shapes.Example
) -> None:
    question = ask(captioner.loaded, read_media(images=[example.image], text=example.caption), "position:2")
    raw = Occlusion(window=2).find(question).raw
    assert raw[0] == 0  # the class token is no part of the image
    deleter = CellDeleter(question, "mean")
    cell = 1 + 3 * 10 + 4
    rows = []
    for down in (0, 1):
        for right in (0, 1):
            kept = torch.ones(len(question.tokens), dtype=torch.bool)
            first = cell - 10 * down - right
            kept[[first, first + 1, first + 10, first + 11]] = False
            rows.append(kept)
    measured = deleter.measures(torch.stack([*rows, torch.ones_like(rows[0])]))
    assert float(raw[cell]) == pytest.approx(float((measured[-1] - measured[:-1]).mean()), abs=1e-6)


def test_methods_side_by_side(captioner: AttentionAnalyzer, example: shapes.Example) -> None:
    compared = captioner.compare_attributions(
        example.caption, image=example.image, target="position:2", seeds=4, deletion="blur"
    )
    assert {each.method for each in compared.importances} == set(USUAL_OF_MEDIA)
    assert compared.deletable == tuple(range(1, 101))
    assert "blurred" in compared.summary
    table = compared.table.set_index("method")
    assert table.loc["occlusion", "comprehensiveness"] > table.loc["random", "comprehensiveness"]


def test_cells_of_a_class_and_of_what_comes_next() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 200, 3), dtype=np.uint8)
    llava = models.llava()
    for method in ("rollout", "gradient_attention", "occlusion"):
        found = llava.token_importance("what is this ?", method, image=image, target="next")
        cells = [number for number, place in enumerate(found.places) if isinstance(place, ImageCell)]
        assert len(cells) == 16
        assert found.heat().shape == (100, 200)
        assert np.isnan(found.heat()[:, :45]).all()  # cropped away
        if method == "occlusion":
            assert {found.raw[at] for at in range(len(found)) if at not in cells} == {0.0}
    pooled = models.vit().token_importance(image=image, method="rollout", target="pooled")
    assert len(pooled) == 17


def test_stretches_of_a_sound() -> None:
    listener = AttentionAnalyzer("demo-listener", cache=False)
    spoken = tones.example(random.Random(8), held_out=True)
    text, given = tones.text_of(spoken.digits), (spoken.sound, tones.RATE)
    pieces = listener.record(text, audio=given).target_tokens.pieces
    at = next(number for number, piece in enumerate(pieces) if piece.strip() == str(spoken.digits[0]))
    question = ask(listener.loaded, read_media(audio=given[0], sampling_rate=given[1], text=text), f"position:{at}")
    start, stop = spoken.times[0]
    places = question.tokens.places
    kept = torch.ones(3, len(places), dtype=torch.bool)
    for number, place in enumerate(places):
        if isinstance(place, SoundSpan):
            kept[1, number] = not start <= place.start < stop
            kept[2, number] = not place.stop < start - 0.05
    whole, without, silence = CellDeleter(question, "silence").measures(kept).tolist()
    assert whole > 0.9
    assert without < whole / 2
    assert silence > whole / 2  # before the first digit there is nothing to hear


def test_windows_reach_over_borders_and_stay_in_their_tile() -> None:
    box = (0.0, 0.0, 1.0, 1.0)
    places = [ImageCell(0, row, column, box, tile) for tile in (0, 1) for row in range(2) for column in range(3)]
    found = windows([None, *places], 2)
    assert all(len({(at - 1) // 6 for at in window}) == 1 for window in found)
    counts = [sum(at in window for window in found) for at in range(1, 13)]
    # Windows that hold the same cells count once.
    assert [1, 2, 4, 5] in found and min(counts) > 0 and [] not in found


def test_smoothing_is_the_mean_over_a_window() -> None:
    places = [ImageCell(0, row, column, (0.0, 0.0, 1.0, 1.0)) for row in range(3) for column in range(4)]
    values = np.arange(12.0)
    found = smoothed([*places, None], [*values, 7.0], 3)
    padded = np.pad(values.reshape(3, 4), 1)
    for row in range(3):
        for column in range(4):
            assert found[4 * row + column] == pytest.approx(padded[row : row + 3, column : column + 3].mean())
    assert found[12] == 7


def test_mistakes(captioner: AttentionAnalyzer, example: shapes.Example) -> None:
    with pytest.raises(UnsupportedModelError, match="occlusion"):
        captioner.token_importance(example.caption, "integrated_gradients", image=example.image)
    with pytest.raises(InputError, match="mean, blur, noise"):
        captioner.compare_attributions(example.caption, image=example.image, deletion="hide")
    with pytest.raises(InputError, match="mask, hide, remove"):
        AttentionAnalyzer("demo-decoder", cache=False).compare_attributions("The boy went to town", deletion="blur")
    with pytest.raises(InputError, match="Give a text, image"):
        captioner.token_importance()
    found = captioner.token_importance(example.caption, image=example.image)
    with pytest.raises(InputError, match="odd number"):
        found.heat(smooth=2)
    with pytest.raises(SelectionError, match="no image 3"):
        found.heat(3)
    with pytest.raises(InputError, match="no heat"):
        AttentionAnalyzer("demo-decoder", cache=False).token_importance("The boy").heat()
