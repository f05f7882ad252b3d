"""The payload: round trip, damage, the two forms of weights, and what the header says."""

from __future__ import annotations

import struct
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
from attention_analyzer.view.payload import PayloadWriter, read_payload, with_state
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
