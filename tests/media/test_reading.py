"""Images and sounds in every form that they come in, and one sentence about those that cannot be used."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attention_analyzer.errors import InputError
from attention_analyzer.media import read_film, read_image, read_sound


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def test_every_form_of_an_image_is_the_same(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    PIL.Image.fromarray(pixels).save(path)
    forms = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), PIL.Image.open(path), pixels]
    forms += [pixels.transpose(2, 0, 1), (pixels / 255).astype(np.float32), pixels.astype(np.uint16) * 257]
    for form in forms:
        assert np.array_equal(read_image(form).pixels, pixels)


def test_an_image_is_turned_as_its_exif_entry_says(pixels: np.ndarray, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    PIL.Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png").pixels, np.rot90(pixels, -1))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1", "I;16"])
def test_every_mode_becomes_rgb(mode: str, pixels: np.ndarray) -> None:
    image = PIL.Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else None
    read = read_image(image or PIL.Image.fromarray(pixels).convert(mode)).pixels
    assert read.shape == (20, 30, 3)
    assert read.dtype == np.uint8
    if mode == "I;16":
        assert np.array_equal(read[..., 0], pixels[..., 0])


def _huge_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _animated() -> bytes:
    frames = [PIL.Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _cut() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()[:2000]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (_huge_png(), "more than 64,000,000"),
        (_animated(), "animated"),
        (_cut(), "broken"),
        (b"no image", "no image that can be read"),
        ("nowhere.png", "no image file"),
        (np.zeros((5, 5, 7), np.uint8), "shape"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), -3.0), "numbers go from"),
        (7, "An image is a path"),
    ],
)
def test_one_sentence_about_an_image_that_cannot_be_used(image, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read_image(image)
    assert "\n" not in str(refused.value)


def _wav(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(samples.shape[1])
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def test_sounds_become_one_channel_at_the_models_rate() -> None:
    time = np.arange(8000) / 8000
    tone = np.round(10_000 * np.sin(2 * np.pi * 440 * time))
    sound = read_sound(_wav(np.stack([tone, tone], 1), 8000))
    assert sound.rate == 8000
    assert sound.samples == pytest.approx(tone / 32768, abs=1e-6)
    again = sound.resampled(16_000)
    expected = 10_000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert again.samples[1000:-1000] == pytest.approx(expected[1000:-1000], abs=2e-3)


def test_every_form_of_samples_is_the_same() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 100).astype(np.float32)
    forms = [(samples, 8000), {"array": samples, "sampling_rate": 8000}, (np.stack([samples, samples]), 8000)]
    for form in forms:
        assert read_sound(form).samples == pytest.approx(samples)
    assert read_sound(samples, 8000).seconds == 100 / 8000


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ((np.zeros(100), 8000), "silent"),
        ((np.full(100, np.nan), 8000), "NaN"),
        ((np.zeros(0), 8000), "shape"),
        ((np.ones(100), 3), "samples per second"),
        (np.ones(100), "without a rate"),
        ("nowhere.wav", "no sound file"),
        (7, "A sound is a path"),
    ],
)
def test_one_sentence_about_a_sound_that_cannot_be_used(sound, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read_sound(sound)
    assert "\n" not in str(refused.value)


def test_films_from_arrays_lists_and_animated_files(tmp_path: Path) -> None:
    film = np.random.default_rng(0).integers(0, 255, (7, 5, 11, 3), dtype=np.uint8)
    chosen = [0, 2, 4, 6]
    for given in (film, list(film), np.moveaxis(film, -1, 1)):
        frames = read_film(given, 4)
        assert [frame.name for frame in frames] == [f"frame {number}" for number in chosen]
        assert all(np.array_equal(frame.pixels, film[number]) for frame, number in zip(frames, chosen, strict=True))
    pictures = [PIL.Image.fromarray(frame) for frame in film]
    path = tmp_path / "film.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    frames = read_film(path, 4)
    assert [frame.name for frame in frames] == [f"film.png, frame {number}" for number in chosen]
    assert all(np.array_equal(frame.pixels, film[number]) for frame, number in zip(frames, chosen, strict=True))


def test_what_is_no_film(tmp_path: Path) -> None:
    film = np.zeros((3, 5, 11, 3), dtype=np.uint8)
    for given, words in (
        (film[:0], "no frames"),
        ([], "no frames"),
        (film[0], "array \\[frame"),
        ([film[0], film[1, :4]], "differ in size"),
        (tmp_path / "none.mp4", "no film file"),
        (7, "path, an array or a list"),
    ):
        with pytest.raises(InputError, match=words):
            read_film(given)
    with pytest.raises(InputError, match="reads 4"):
        read_film(film, 4)
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"broken\.gif"):
        read_film(tmp_path / "broken.gif")


def test_films_of_other_formats_by_pyav(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV reads films of other formats than Pillow's")
    path = tmp_path / "film.mkv"
    shades = [0, 60, 120, 180, 240]
    with av.open(str(path), "w") as written:
        stream = written.add_stream("ffv1", rate=5)  # without loss
        stream.width, stream.height, stream.pix_fmt = 32, 16, "bgr0"
        for shade in shades:
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), shade, np.uint8), format="rgb24")
            written.mux(stream.encode(frame))
        written.mux(stream.encode())
    frames = read_film(path, 3)
    assert [int(frame.pixels.mean()) for frame in frames] == [0, 120, 240]
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    with pytest.raises(InputError, match="no film that can be read"):
        read_film(tmp_path / "broken.mp4")
