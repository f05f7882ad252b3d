"""Files that another program wrote: the same record as from its arrays, or one sentence about what does not fit."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from attention_analyzer import AttentionRecord
from attention_analyzer.errors import FileFormatError

HEADS, KEY_HEADS, SIZE, CHANNELS = 6, 2, 7, 5
TOKENS = list("abcdefg")
torch.manual_seed(0)
QUERIES, KEYS = torch.randn(2, HEADS, SIZE, CHANNELS), torch.randn(2, KEY_HEADS, SIZE, CHANNELS)
DESCRIPTION: dict[str, Any] = {"version": 1, "tokens": TOKENS, "causal": True}


def tensors() -> dict[str, Tensor]:
    queries = {f"layers.{number}.query": each for number, each in enumerate(QUERIES)}
    return queries | {f"layers.{number}.key": each for number, each in enumerate(KEYS)}


def write(path: Path, description: Any = DESCRIPTION, parts: dict[str, Tensor] | None = None) -> Path:
    content = description if isinstance(description, str) else json.dumps(description)
    copies = {name: part.clone() for name, part in (tensors() if parts is None else parts).items()}
    save_file(copies, path, metadata={"attention_layers": content})
    return path


def same(one: AttentionRecord, two: AttentionRecord) -> None:
    assert one.sites == two.sites
    assert one.tokens.pieces == two.tokens.pieces
    for site in one.sites:
        torch.testing.assert_close(one.weights_at(site).full(), two.weights_at(site).full(), atol=0, rtol=0)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"scaling": 0.5, "model_name": "mine", "stack": "text"},
        {"causal": False, "window": [None, 3], "softcap": 2, "scaling": [0.5, 1]},
    ],
)
def test_queries_and_keys(tmp_path: Path, more: dict[str, Any]) -> None:
    record = AttentionRecord.load(write(tmp_path / "mine.safetensors", DESCRIPTION | more))
    same(record, AttentionRecord.from_queries_and_keys(QUERIES, KEYS, TOKENS, **{"causal": True} | more))
    assert record.model_name == more.get("model_name", "")
    assert record.exact


def test_sinks_bias_and_masks_of_some_layers(tmp_path: Path) -> None:
    sinks, bias = torch.randn(HEADS), torch.randn(1, SIZE, SIZE)
    mask = torch.ones(SIZE, SIZE, dtype=torch.uint8).tril(2)
    parts = tensors() | {"layers.0.sinks": sinks, "layers.1.bias": bias, "layers.1.mask": mask}
    record = AttentionRecord.load(write(tmp_path / "mine.safetensors", DESCRIPTION | {"causal": False}, parts))
    expected = AttentionRecord.from_queries_and_keys(
        QUERIES, KEYS, TOKENS, sinks=[sinks, None], bias=[None, bias], mask=[None, mask.bool()]
    )
    same(record, expected)


def test_layers_keep_their_numbers(tmp_path: Path) -> None:
    parts = {name.replace("layers.1", "layers.12"): part for name, part in tensors().items()}
    record = AttentionRecord.load(write(tmp_path / "mine.safetensors", DESCRIPTION, parts))
    assert [site.layer for site in record.sites] == [0, 12]


def test_weights_and_cross_attention(tmp_path: Path) -> None:
    weights = torch.softmax(torch.randn(3, SIZE, 2), -1)
    description = {"tokens": TOKENS, "key_tokens": ["x", "y"]}
    record = AttentionRecord.load(write(tmp_path / "w.safetensors", description, {"layers.0.weights": weights}))
    same(record, AttentionRecord.from_weights([weights], TOKENS, key_tokens=["x", "y"]))


def test_a_file_written_without_any_library(tmp_path: Path) -> None:
    """Eight bytes of length, the header as JSON, the numbers: all that a writer in another language has to do."""
    query = struct.pack("<6f", *range(6))
    header = {
        "__metadata__": {"attention_layers": json.dumps({"tokens": ["a", "b", "c"], "causal": True, "scaling": 1})},
        "layers.0.query": {"dtype": "F32", "shape": [1, 3, 2], "data_offsets": [0, 24]},
        "layers.0.key": {"dtype": "F32", "shape": [1, 3, 2], "data_offsets": [24, 48]},
    }
    encoded = json.dumps(header).encode()
    (tmp_path / "c.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded + query + query)
    record = AttentionRecord.load(tmp_path / "c.safetensors")
    tokens = torch.arange(6.0).reshape(3, 2)
    torch.testing.assert_close(record.weights(0, 0)[2], torch.softmax(tokens @ tokens[2], 0))


def test_what_was_read_can_be_saved_as_a_record(tmp_path: Path) -> None:
    record = AttentionRecord.load(write(tmp_path / "mine.safetensors"))
    same(AttentionRecord.load(record.save(tmp_path / "again.attn")), record)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in DESCRIPTION.items() if key != name}


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "must be a JSON object"),
        (without("tokens"), '"tokens" is missing'),
        (without("causal"), '"causal" is missing'),
        (DESCRIPTION | {"version": 2}, "version 2, but this release reads version 1"),
        (DESCRIPTION | {"softcaps": 3}, "'softcaps' is no entry of it; the entries are version, tokens"),
        (DESCRIPTION | {"causal": 1}, "'causal' must be of the kind bool, but is '1'"),
        (DESCRIPTION | {"tokens": "abcdefg"}, "'tokens' must be of the kind list"),
        (DESCRIPTION | {"tokens": [1] * SIZE}, "must be strings, but number 0"),
        (DESCRIPTION | {"tokens": TOKENS[:-1]}, r"6 tokens were given, but the queries .*\(6, 7, 5\)"),
        (DESCRIPTION | {"window": True}, "'window' must be of the kind int or list"),
        (DESCRIPTION | {"window": [2, "x"]}, "window of layer 1 is 'x'"),
        (DESCRIPTION | {"scaling": [1]}, "scaling lists 1 values"),
        ('{"tokens": ["a"], "causal": true, "scaling": NaN}', "NaN|nan|tokens"),
        (DESCRIPTION | {"scaling": 10**400}, "scaling of layer 0"),
        (DESCRIPTION | {"stack": "../etc"}, "is no name such as"),
        (DESCRIPTION | {"partial_rows": True}, "for weights"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path: Path, description: Any, says: str) -> None:
    path = write(tmp_path / "mine.safetensors", description)
    with pytest.raises(FileFormatError, match=says) as caught:
        AttentionRecord.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers.0.value": KEYS[0]}, "'layers.0.value' is none of it"),
        ({"layers.00.query": QUERIES[0]}, "'layers.00.query' is none of it"),
        ({"layers.2.query": QUERIES[0]}, "layers.2.key is missing, which other layers have"),
        ({"layers.0.weights": KEYS[0]}, "layers.1.weights is missing"),
        ({"layers.0.weights": KEYS[0], "layers.1.weights": KEYS[0]}, "weights, with which query, key cannot stand"),
        ({"layers.0.key": KEYS[0, :, :6]}, r"\(6, 7, 5\) and the keys \(2, 6, 5\)"),
        ({"layers.0.query": QUERIES[0].int()}, "queries of layer 0 are int32"),
        ({"layers.0.query": QUERIES[0, 0, 0]}, r"shape \(5,\)"),
        ({"layers.0.key": KEYS[0] * torch.inf}, "keys of layer 0 hold"),
        ({"layers.0.key": torch.zeros(0, SIZE, CHANNELS)}, r"\(0, 7, 5\)"),
        ({"layers.0.sinks": torch.zeros(3)}, r"sinks of layer 0 have the shape \(3,\)"),
        ({"layers.0.mask": torch.full((SIZE, SIZE), 2, dtype=torch.uint8)}, "mask of layer 0 must hold"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, change: dict[str, Tensor], says: str) -> None:
    with pytest.raises(FileFormatError, match=says):
        AttentionRecord.load(write(tmp_path / "mine.safetensors", DESCRIPTION, tensors() | change))


def test_files_without_tensors_or_with_half_of_them(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no tensors"):
        AttentionRecord.load(write(tmp_path / "mine.safetensors", DESCRIPTION, {}))
    queries = {name: part for name, part in tensors().items() if name.endswith("query")}
    with pytest.raises(FileFormatError, match=r"layers\.0\.key is missing"):
        AttentionRecord.load(write(tmp_path / "mine.safetensors", DESCRIPTION, queries))
