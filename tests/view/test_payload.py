"""The payload: round trip, damage, the two forms of weights, and what the header says."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.record import AttentionRecord
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.view import quantize
from attention_analyzer.view.annotations import Annotations, HeadLabel, TokenTrack
from attention_analyzer.view.content import payload
from attention_analyzer.view.downsample import coarse
from attention_analyzer.view.payload import MAGIC, PRELUDE, PayloadWriter, read_payload, with_state
from tests.damage import damaged_copies
from tests.view.records import query_key_record

GOLDEN = Path(__file__).parent / "golden"
RNG = np.random.default_rng(3)
ARRAYS = [
    RNG.integers(0, 256, (2, 3, 5)).astype(np.uint8),
    RNG.integers(-9, 9, 7).astype(np.int32),
    RNG.normal(size=(11, 3)).astype(np.float16),
    RNG.normal(size=(2, 13)).astype(np.float32),
    np.zeros((5, 400), np.float32),
    np.zeros((0, 3), np.float16),
]


@pytest.mark.parametrize("deflate", [True, False])
def test_blocks_come_back_as_they_were(deflate: bool) -> None:
    writer = PayloadWriter(deflate)
    numbers = [writer.add(array) for array in ARRAYS]
    found = read_payload(writer.finish({"title": "a\ud800b ✓"}))
    for number, array in zip(numbers, ARRAYS, strict=True):
        block = found.block(number)
        assert block.dtype == array.dtype
        assert np.array_equal(block, array)
    assert found.header["title"].endswith("b ✓")


def test_equal_blocks_are_stored_once() -> None:
    writer = PayloadWriter()
    assert writer.add(ARRAYS[0]) == writer.add(ARRAYS[0].copy())
    assert writer.add(ARRAYS[0].reshape(6, 5)) != writer.add(ARRAYS[0])


@pytest.fixture(scope="module")
def whole() -> bytes:
    writer = PayloadWriter()
    writer.add(ARRAYS[2])
    return writer.finish({"records": []})


@pytest.mark.parametrize("kept", [0, 10, 31, 40, -1])
def test_cut_payload_is_refused(whole: bytes, kept: int) -> None:
    with pytest.raises(FileFormatError):
        read_payload(whole[:kept])


def test_altered_header_and_block_are_refused(whole: bytes) -> None:
    with pytest.raises(FileFormatError, match="checksum"):
        read_payload(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    altered = read_payload(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FileFormatError, match="altered"):
        altered.block(0)
    with pytest.raises(FileFormatError, match="1 blocks"):
        altered.block(1)


def read_whole(data: bytes) -> list[np.ndarray]:
    found = read_payload(data)
    return [found.block(number) for number in range(len(found.header["blocks"]))]


def test_every_changed_bit_and_every_cut_is_noticed(whole: bytes) -> None:
    read_whole(whole)
    for bad in damaged_copies(whole, 200, seed=5):
        with pytest.raises(FileFormatError):
            read_whole(bad)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed, so the page's reader cannot be run")
def test_the_pages_own_reader_notices_as_much(whole: bytes, tmp_path: Path) -> None:
    copies = [whole, *damaged_copies(whole, 60, seed=6), with_entry(whole, shape=[11, 3_000_000])]
    files = [tmp_path / f"{number}.bin" for number in range(len(copies))]
    for file, content in zip(files, copies, strict=True):
        file.write_bytes(content)
    root = Path(__file__).resolve().parents[2]
    given = "\n".join(map(str, [root / "viewer" / "src" / "payload", *files]))
    command = ["node", str(Path(__file__).with_name("payload_damage.mjs"))]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    first, *others = done.stdout.split("\n")[:-1]
    assert float(first)
    assert others == ["refused"] * (len(copies) - 1)


def with_entry(data: bytes, **changes: object) -> bytes:
    """The same payload with another description of its first block, and checksums that fit."""
    found = read_payload(data)
    header = found.header | {"blocks": [found.header["blocks"][0] | changes]}
    encoded, body = json.dumps(header).encode(), data[PRELUDE.size + PRELUDE.unpack_from(data)[2] :]
    total = PRELUDE.size + len(encoded) + len(body)
    return PRELUDE.pack(MAGIC, 1, len(encoded), zlib.crc32(encoded), 0, total) + encoded + body


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -1},
        {"offset": "0"},
        {"stored": 10**12},
        {"crc": None},
        {"dtype": "float64"},
        {"encoding": "zip"},
        {"shape": [11]},
        {"shape": [-11, -3]},
        {"shape": [1 << 40]},
        {"shape": [11, 3, 2]},
        {"shape": 33},
    ],
)
def test_blocks_that_do_not_fit(whole: bytes, change: dict) -> None:
    read_whole(with_entry(whole))
    with pytest.raises(FileFormatError):
        read_whole(with_entry(whole, **change))


def test_payload_from_the_future_is_refused(whole: bytes) -> None:
    with pytest.raises(FileFormatError, match="version 99"):
        read_payload(whole[:8] + struct.pack("<I", 99) + whole[12:])


def test_codes_keep_a_percent_or_a_thousandth() -> None:
    weights = np.linspace(0, 1, 50_001).astype(np.float32)
    shown = quantize.codebook()[quantize.encode(weights)]
    allowed = np.maximum(0.01 * weights, 1e-3)
    assert (np.abs(shown - weights) <= allowed).all()
    assert shown[0] == 0
    assert shown[-1] == 1
    assert (np.diff(quantize.codebook()) > 0).all()


def test_short_texts_carry_queries_and_keys_and_long_ones_only_those() -> None:
    def forms(record: AttentionRecord, **options: bool) -> list[str]:
        header = read_payload(payload(record, **options)).header
        return ["scores" if "scores" in site else "weights" for site in header["records"][0]["sites"]]

    assert forms(query_key_record(queries=7)) == ["scores", "scores"]
    assert forms(query_key_record(queries=701, channels=3)) == ["scores", "scores"]
    given = AttentionRecord.from_weights(torch.full((3, 5, 5), 0.2), list("abcde"))
    assert forms(given) == ["weights"]
    assert forms(given, queries_and_keys=True) == ["weights"]


def test_long_pages_grow_with_the_text_and_not_with_its_square() -> None:
    sizes = [len(payload(query_key_record(queries=count))) for count in (500, 1000, 2000)]
    assert 0.6 < (sizes[2] - sizes[1]) / (2 * (sizes[1] - sizes[0])) < 1.4


def test_small_pictures_keep_rows_and_sinks() -> None:
    weights = torch.zeros(2, 200, 200)
    weights[0, :, 0] = 1
    weights[1] = torch.eye(200)
    record = AttentionRecord.from_weights(weights, [f"t{i}" for i in range(200)])
    found = coarse(record.entries[0].weights)
    assert np.allclose(found.pictures.sum(-1), 1, atol=1e-6)
    assert np.allclose(found.pictures[0, :, 0], 1)
    assert np.allclose(found.pictures[1], np.eye(40), atol=1e-6)
    half = AttentionRecord.from_weights(weights[:1], [f"t{i}" for i in range(200)])
    assert read_payload(payload(half)).header["records"][0]["sinks"] == [[0]]


def test_annotations_must_fit() -> None:
    tokens = Tokens.of_pieces(["a", "b"])
    record = AttentionRecord.from_weights(torch.full((2, 2, 2), 0.5), tokens)
    good = Annotations(
        tracks=[TokenTrack("importance", tokens, [0.1, 0.9])],
        labels=[HeadLabel("encoder.self.0", 1, "previous token", 0.7, 0.1)],
    )
    header = read_payload(payload(record, annotations=good)).header["records"][0]
    assert header["tracks"][0]["values"] == [0.1, 0.9]
    assert header["labels"][0]["head"] == 1
    for bad in (
        Annotations(tracks=[TokenTrack("importance", tokens, [0.1])]),
        Annotations(labels=[HeadLabel("encoder.self.0", 2, "x", 1.0)]),
    ):
        with pytest.raises(InputError):
            payload(record, annotations=bad)


def test_a_models_folder_does_not_give_its_place_away() -> None:
    record = AttentionRecord.from_weights(torch.ones(1, 1, 1), ["a"], model_name="/home/user/secret/model")
    data = read_payload(payload(record))
    assert data.header["records"][0]["model"] == "model"
    assert "secret" not in str(data.header)


def test_another_state_keeps_the_blocks(whole: bytes) -> None:
    other = with_state(whole, {"view": "arcs", "head": 2})
    first, second = read_payload(whole), read_payload(other)
    assert second.header == {**first.header, "state": {"view": "arcs", "head": 2}}
    for number in range(len(first.header["blocks"])):
        assert (first.block(number) == second.block(number)).all()
    with pytest.raises(FileFormatError):
        with_state(whole[:-1], {})


def test_a_payload_of_an_earlier_release_still_reads() -> None:
    """Written by the first release of the format and never again."""
    found = read_payload((GOLDEN / "payload-1.bin").read_bytes())
    weights = np.load(GOLDEN / "weights-1.npz")
    site = found.header["records"][0]["sites"][1]
    assert site["name"] == "decoder.self.1"
    np.testing.assert_allclose(found.block(site["weights"]["block"]), weights["decoder.self.1"], atol=1e-3)
