"""The page of images and sounds shows what was dropped, with every head over it, and what a word rests on."""

from __future__ import annotations

import io
import random
import wave
from collections.abc import Callable

import numpy as np
from streamlit.testing.v1 import AppTest

from demo_models import shapes, tones
from tests.dashboard.conftest import words


def png() -> tuple[shapes.Example, bytes]:
    example = shapes.example(random.Random(1), held_out=True)
    content = io.BytesIO()
    example.image.save(content, format="PNG")
    return example, content.getvalue()


def test_an_image_is_captioned_and_its_cells_are_scored(page: Callable[..., AppTest]) -> None:
    example, content = png()
    app = page("media", model="demo-captioner")
    assert "Drop an image" in words(app)
    app.file_uploader[0].set_value(("shapes.png", content, "image/png")).run()
    assert not app.exception and not app.error
    assert example.caption.replace(" ,", ",").split()[1] in words(app)
    app.selectbox(key="word").set_value(2)
    app.selectbox(key="method").set_value("occlusion").run()
    assert not app.exception and not app.error


def test_a_sound_gets_the_times_of_its_words(page: Callable[..., AppTest]) -> None:
    example = tones.example(random.Random(8), held_out=True)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(tones.RATE)
        file.writeframes((example.sound / np.abs(example.sound).max() * 32_000).astype("<i2").tobytes())
    app = page("media", model="demo-listener")
    app.file_uploader[0].set_value(("dialed.wav", content.getvalue(), "audio/wav")).run()
    assert not app.exception and not app.error
    table = app.dataframe[0].value
    assert [word.strip() for word in table["word"]] == list(example.digits)


def test_what_cannot_be_read_is_said(page: Callable[..., AppTest]) -> None:
    app = page("media", model="demo-captioner")
    app.file_uploader[0].set_value(("broken.png", b"no image", "image/png")).run()
    assert "is no image that can be read" in app.error[0].value
    app = page("media", model="demo-decoder")
    app.file_uploader[0].set_value(("shapes.png", png()[1], "image/png")).run()
    assert app.error and "demo-decoder" in app.error[0].value


def test_examples_are_read_as_they_say(page: Callable[..., AppTest]) -> None:
    for name, said in (
        ("two-shapes.png", "a red circle and a blue square"),
        ("three-shapes.png", "a green triangle"),
    ):
        app = page("media", model="demo-captioner", example=name)
        assert not app.exception and not app.error
        assert said in words(app).replace("\\", "")
    app = page("media", model="demo-listener", example="digits.wav")
    assert [word.strip() for word in app.dataframe[0].value["word"]] == ["1", "4", "7", "9"]
