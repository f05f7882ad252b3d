"""Places held against the original: right ones stand, and shifted ones are found out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.media_recording import Media, examine_media, prepare_media, read_media, record_media
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.places.check import PlaceCheck, check_places
from attention_analyzer.places.find import placed
from attention_analyzer.recording import record_inputs
from tests.conformance.places import list_of_patches
from tests.places import models


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (100, 200, 3), dtype=np.uint8)


@pytest.mark.parametrize("make", [models.vit, models.swin, models.llava])
def test_measured_places_stand(make, image: np.ndarray) -> None:
    analyzer = make()
    text = None if analyzer.tokenizer is None else "what is this ?"
    _, _, checks = examine_media(analyzer.loaded, read_media(images=[image], text=text))
    assert all(check.tried and not check.wrong and not check.by_number for check in checks)
    assert sum(check.placed for check in checks) > 0
    assert analyzer.diagnose(text, image=image).holds
    if make is models.llava:
        assert checks[-1].text == 4


def test_a_film_and_a_sound_stand() -> None:
    film = np.random.default_rng(0).integers(0, 255, (4, 40, 80, 3), dtype=np.uint8)
    for make in (models.videomae, models.timesformer):
        assert not any(check.wrong for check in examine_media(make().loaded, read_media(video=film))[2])
    sound = np.random.default_rng(0).standard_normal(2 * 16_000).astype(np.float32)
    (check,) = examine_media(models.wav2vec2().loaded, read_media(audio=(sound, 16_000)))[2]
    assert check.tried and not check.wrong
    assert "one every 20 ms" in check.sentence


@pytest.mark.parametrize("shift", ["rows", "columns", "reversed"])
def test_wrong_places_are_found_out(shift: str, image: np.ndarray) -> None:
    loaded = models.vit().loaded
    media = read_media(images=[image])
    record, inputs = record_media(loaded, media)
    entry = record.entries[0]
    grid = np.arange(1, 17).reshape(4, 4)
    moved = {"rows": np.roll(grid, 1, 0), "columns": np.roll(grid, 1, 1), "reversed": grid[::-1, ::-1]}[shift]
    places = (entry.keys.places[0], *(entry.keys.places[at] for at in moved.reshape(-1)))
    keys = replace(entry.keys, places=places)
    wrong = replace(record, entries=(replace(entry, queries=keys, keys=keys),))
    assert checked(loaded, media, wrong, inputs).wrong == 16
    assert checked(loaded, media, record, inputs).wrong == 0


def checked(loaded: LoadedModel, media: Media, record: CapturedAttention, inputs) -> PlaceCheck:
    return check_places(loaded, record, inputs, prepare_media(loaded, media)[1], tried=16)[0]


@pytest.mark.parametrize("kind", ["2", "2.5"])
def test_merged_patches_and_windows_of_lists_of_patches_stand(kind: str) -> None:
    model, inputs = models.qwen_vl(kind)
    processed, inputs["pixel_values"] = list_of_patches(model, inputs, "pixel_values")
    loaded = LoadedModel(model, None, kind)
    (record,) = placed(loaded, record_inputs(loaded, inputs, places=False), inputs, processed)
    patches, merged = check_places(loaded, record, inputs, processed, tried=6)
    assert (patches.placed, patches.tried, patches.wrong) == (96, 6, 0)
    assert (merged.placed, merged.text, merged.by_number, merged.wrong) == (24, 5, 0, 0)
    assert "cells of 4 × 6, each 8 × 8" in merged.sentence.replace("7.98", "8")
