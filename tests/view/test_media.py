"""Pages and figures of images and sounds: the image inside, boxes in its pixels, and what the page shows first."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.media import Image, Sound
from attention_analyzer.view.content import payload
from attention_analyzer.view.media_content import small_pixels, spectrogram
from attention_analyzer.view.payload import read_payload
from demo_models import shapes


@pytest.fixture(scope="module")
def example() -> shapes.Example:
    return shapes.example(random.Random(11), held_out=True)


@pytest.fixture(scope="module")
def record(example: shapes.Example) -> AttentionRecord:
    return AttentionAnalyzer("demo-captioner", cache=False).record(image=example.image)


def test_the_page_holds_the_image_and_the_boxes(record: AttentionRecord, example: shapes.Example) -> None:
    read = read_payload(payload(record))
    (content,) = read.header["records"]
    (medium,) = content["media"]
    assert np.array_equal(read.block(medium["block"]), np.asarray(example.image))
    site = next(each for each in content["sites"] if each["kind"] == "cross")
    places = content["tokens"][site["keys"]]["places"]
    assert places["kind"] == "image"
    assert places["boxes"][0] is None
    assert places["boxes"][12] == pytest.approx([0, 16, 16, 32, 32], abs=0.5)
    assert content["tokens"][site["keys"]]["roles"] == {"0": "class"}
    assert read.header["state"] == {"view": "picture", "site": "decoder.cross.1", "query": 0}


def test_the_model_says_what_is_there(record: AttentionRecord, example: shapes.Example) -> None:
    assert " ".join(record.target_tokens.pieces[1:]) == example.caption


def test_heat_is_the_weight_of_the_cell_under_each_pixel(record: AttentionRecord) -> None:
    heat = record.heat(2, layer=1, head=3)
    weights = record.weights(1, 3, kind="cross")[1]  # the second word is decided at the first one's query
    assert heat.shape == (160, 160)
    assert heat[24, 40] == pytest.approx(float(weights[1 + 10 + 2]))
    assert np.nanargmax(heat[8::16, 8::16]) == int(weights[1:].argmax())


def test_heat_of_a_word_and_of_the_mean(record: AttentionRecord) -> None:
    word = record.target_tokens.pieces[2]
    heads = [record.heat(word, layer, head) for layer in (0, 1) for head in range(4)]
    assert record.heat(word) == pytest.approx(np.mean(heads, axis=0), abs=1e-6)
    with pytest.raises(SelectionError, match="nowhere"):
        record.heat("elephant")
    with pytest.raises(SelectionError, match="no layer 7"):
        record.heat(word, 7)
    with pytest.raises(InputError, match="place in a sound"):
        record.timeline(word)


def test_the_figure_shows_the_image(record: AttentionRecord) -> None:
    figure = record.figure(layer=1, kind="cross", head=3, view="picture", query=1)
    image, heat = figure.axes[0].images
    assert image.get_array().shape == (160, 160, 3)
    assert np.asarray(heat.get_array()) == pytest.approx(record.heat(2, 1, 3), abs=1e-6)
    with pytest.raises(InputError, match="no place in an image"):
        record.figure(layer=0, kind="self", stack="decoder", view="picture")


def test_large_images_are_scaled_down_for_the_page() -> None:
    pixels = np.zeros((1300, 2000, 3), np.uint8)
    pixels[:, 1000:] = 200
    small = small_pixels(Image(pixels))
    assert max(small.shape) <= 640
    assert small[5, 5, 0] == 0
    assert small[5, -5, 0] == 200


def test_a_spectrogram_shows_a_tone_in_its_band() -> None:
    time = np.arange(16_000) / 16_000
    low, high = (
        spectrogram(Sound(np.sin(2 * np.pi * hertz * time).astype(np.float32), 16_000)) for hertz in (200, 4000)
    )
    assert 0 <= low.min() <= low.max() <= 1
    assert low[:, 50].argmax() < high[:, 50].argmax()
