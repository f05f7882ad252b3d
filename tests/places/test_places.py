"""Tokens of images and sounds have the places that a change of the original there changes them from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attention_analyzer import AttentionAnalyzer, AttentionRecord
from attention_analyzer.errors import InputError
from attention_analyzer.text.place import FilmCell, ImageCell, Learned, SoundSpan, place_from_dict, place_to_dict
from tests.places import models

HEIGHT, WIDTH = 100, 200


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def boxes(record: AttentionRecord, layer: int = 0, stack: str | None = None) -> dict[tuple[int, int], tuple]:
    places = record.entry(layer, stack=stack, kind="self").keys.places
    return {(place.row, place.column): place.box for place in places if isinstance(place, ImageCell)}


def test_stretched_image(image: np.ndarray) -> None:
    record = models.vit().record(image=image)
    assert record.tokens.pieces[0] == "[CLS]"
    assert record.tokens.places[0] == Learned("class")
    found = boxes(record)
    assert set(found) == {(row, column) for row in range(4) for column in range(4)}
    for (row, column), box in found.items():
        assert box == pytest.approx((50 * column, 25 * row, 50 * column + 50, 25 * row + 25), abs=0.5)


def test_cropped_image_in_front_of_a_text(image: np.ndarray) -> None:
    """The middle square of the image is what is left of it; the text's tokens have no place in it."""
    record = models.llava().record("what is this ?", image=image)
    for stack in ("vision", "decoder"):
        for (row, column), box in boxes(record, stack=stack).items():
            left = 50 + 25 * column
            assert box == pytest.approx((left, 25 * row, left + 25, 25 * row + 25), abs=0.5)
    tokens = record.entry(0, stack="decoder").keys
    assert tokens.pieces[-4:] == ("what", "is", "this", "?")
    assert tokens.places[-4:] == (None,) * 4
    assert sum(isinstance(place, ImageCell) for place in tokens.places) == 16


def test_images_are_told_apart(image: np.ndarray) -> None:
    record = models.llava().record("<image> what is <image> this ?", images=[image, image[:, :60]])
    tokens = record.entry(0, stack="decoder").keys
    assert [place.image for place in tokens.places if place is not None] == [0] * 16 + [1] * 16
    # 100 × 60 pixels become 53 × 32, of which rows 10 to 42 are kept.
    scale = 100 / 53
    assert tokens.places[18].box == pytest.approx((0, 10 * scale, 15, 18 * scale), abs=0.3)
    assert tokens.pieces[18] == "image 2 0,0"


def test_windows_have_their_true_cells(image: np.ndarray) -> None:
    record = models.swin().record(image=image)
    sizes = {0: (16, 12.5, 6.25), 1: (16, 12.5, 6.25), 2: (8, 25, 12.5), 3: (8, 25, 12.5)}
    for layer, (side, width, height) in sizes.items():
        entry = record.entry(layer)
        assert set(boxes(record, layer)) == {(row, column) for row in range(side) for column in range(side)}
        for (row, column), box in boxes(record, layer).items():
            near = (width * column, height * row, width * (column + 1), height * (row + 1))
            assert box == pytest.approx(near, abs=0.5)
        first = [(place.row, place.column) for place in entry.keys.places[:16]]
        shift = 2 * (layer % 2)  # every second layer's windows begin two cells further down and to the right
        assert first == [(row + shift, column + shift) for row in range(4) for column in range(4)]


@pytest.mark.parametrize("make", [models.vit, models.swin, models.llava])
def test_a_pixel_changes_the_token_whose_box_it_is_in(make, image: np.ndarray) -> None:
    """The slow way: change the middle of one box in the original, and see what the model's first layer reads."""
    analyzer = make()
    text = {} if analyzer.tokenizer is None else {"text": "what is this ?"}
    record = analyzer.record(image=image, **text)
    site = record.sites[0]
    module = analyzer.model.get_submodule(site.module)

    def read(pixels: np.ndarray) -> torch.Tensor:
        kept = []
        hook = module.register_forward_pre_hook(
            lambda _, arguments, options: kept.append(next(iter((*arguments, *options.values())))), with_kwargs=True
        )
        analyzer.record(image=pixels, **text)
        hook.remove()
        return kept[-1].reshape(len(record.entries[0].keys), -1)

    plain = read(image)
    cells = [number for number, place in enumerate(record.entries[0].keys.places) if isinstance(place, ImageCell)]
    for cell in cells[:: max(1, len(cells) // 3)]:
        left, top, right, bottom = record.entries[0].keys.places[cell].box
        changed = image.copy()
        middle = slice(int(top / 2 + bottom / 2), int(top / 2 + bottom / 2) + 2)
        changed[middle, int(left / 2 + right / 2) : int(left / 2 + right / 2) + 2] = 255
        changes = (read(changed) - plain).abs().sum(1)
        assert int(changes.argmax()) == cell


def test_tokens_of_a_sound_are_every_twenty_milliseconds() -> None:
    samples = np.random.default_rng(0).standard_normal(3 * 16_000).astype(np.float32)
    record = models.wav2vec2().record(audio=(samples, 16_000))
    spans = record.tokens.places
    assert all(isinstance(span, SoundSpan) for span in spans)
    for number in (5, 50, 140):
        center = (spans[number].start + spans[number].stop) / 2
        assert center == pytest.approx(0.02 * number + 0.0125, abs=0.02)  # 400 samples are read by one token


def hooked(model: torch.nn.Module) -> list[int]:
    return [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()]


def test_the_model_is_left_as_it_was(image: np.ndarray) -> None:
    analyzer = models.llava()
    before = {name: value.clone() for name, value in analyzer.model.state_dict().items()}
    state = torch.random.get_rng_state()
    analyzer.record("what is this ?", image=image)  # the library itself puts hooks on a model that runs
    given, hooks = image.copy(), hooked(analyzer.model)
    analyzer.record("what is this ?", image=image)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(image, given)
    assert all(torch.equal(value, before[name]) for name, value in analyzer.model.state_dict().items())
    assert hooked(analyzer.model) == hooks


def test_generated_text_keeps_the_image(image: np.ndarray) -> None:
    record = models.llava().generate("what is this ?", image=image, max_new_tokens=3)
    tokens = record.entry(0, stack="decoder").keys
    assert len(tokens) == record.notes["prompt_tokens"] + 3
    assert sum(isinstance(place, ImageCell) for place in tokens.places) == 16


def test_places_and_media_are_saved(image: np.ndarray, tmp_path) -> None:
    record = models.vit().record(image=image)
    again = AttentionRecord.load(record.save(tmp_path / "image.attn"))
    assert again.tokens == record.tokens
    assert np.array_equal(again.media[0].pixels, image)


@pytest.mark.parametrize(
    "place", [ImageCell(0, 1, 2, (0.0, 1.0, 2.0, 3.0), 4), SoundSpan(0, 0.5, 0.75), Learned("register"), None]
)
def test_places_as_plain_data(place) -> None:
    assert place_from_dict(place_to_dict(place)) == place


def test_a_text_model_refuses_an_image(image: np.ndarray) -> None:
    from attention_analyzer.errors import ModelError

    with pytest.raises(ModelError, match="reads texts only"):
        AttentionAnalyzer("demo-encoder", cache=False).record(image=image)


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (9, 40, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize("make", [models.videomae, models.vivit, models.timesformer])
def test_a_pixel_of_a_frame_changes_the_token_whose_cell_it_is_in(make, film: np.ndarray) -> None:
    """The slow way: change the middle of one box in one frame, and see what each layer's keys read."""
    analyzer = make()
    record = analyzer.record(video=film)
    assert [frame.name for frame in record.media] == [f"frame {number}" for number in (0, 3, 5, 8)]
    for entry in record.entries[:2]:
        cells = {place: at for at, place in enumerate(entry.keys.places) if isinstance(place, FilmCell)}
        frames = {(place.first, place.last) for place in cells}
        assert frames == ({(0, 1), (2, 3)} if make is not models.timesformer else {(n, n) for n in range(4)})
        assert len(cells) == 16 * len(frames)
        place = next(each for each in cells if (each.row, each.column, each.last) == (2, 1, 3))
        changed = film[[0, 3, 5, 8]].copy()
        left, top, right, bottom = (round(side) for side in place.box)
        changed[place.last, top + 3 : bottom - 3, left + 3 : right - 3] ^= 255
        if entry is record.entries[0]:  # before any attention
            before, after = (read_by(analyzer, frames_, entry.site.module) for frames_ in (film[[0, 3, 5, 8]], changed))
            differs = (before - after).abs().amax(-1).reshape(-1) > 1e-4
            assert differs.nonzero()[:, 0].tolist() == [cells[place]]


def read_by(analyzer: AttentionAnalyzer, frames: np.ndarray, module: str) -> torch.Tensor:
    read: list[torch.Tensor] = []
    values = analyzer.loaded.need_processor()(list(frames), return_tensors="pt")
    handle = analyzer.model.get_submodule(module).register_forward_pre_hook(
        lambda _, args, options: read.append((*args, *options.values())[0]), with_kwargs=True
    )
    try:
        with torch.no_grad():
            analyzer.model(**values)
    finally:
        handle.remove()
    return read[0]


def test_heat_of_a_film_is_that_of_a_frame(film: np.ndarray, tmp_path) -> None:
    record = models.videomae().record(video=film)
    heat = record.heat(0, layer=0, head=1, image=2)
    assert heat.shape == (40, 80)
    assert np.isnan(heat[:, :19]).all()  # cropped away
    weights = record.entry(0).weights[1, 0, 16:].numpy()
    assert heat[5, 25] == pytest.approx(weights[0])
    assert AttentionRecord.load(record.save(tmp_path / "film.attn")).tokens == record.tokens
    record.figure(view={"view": "picture", "image": 3}, layer=1, head=0)
    with pytest.raises(InputError, match="no image 4"):
        record.figure(view={"view": "picture", "image": 4}, layer=1, head=0)
