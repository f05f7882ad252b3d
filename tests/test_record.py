"""Records: selection, exact tiles, weights from elsewhere, files, whole matrices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from attention_analyzer import AttentionRecord, Tokens
from attention_analyzer.captured import SiteRecord
from attention_analyzer.errors import FileFormatError, InputError, SelectionError, TooLongError
from attention_analyzer.files import draft_checksum, seal
from attention_analyzer.matrices import matrices_of
from attention_analyzer.models.loading import load
from attention_analyzer.recording import record_texts
from attention_analyzer.site import Site
from attention_analyzer.weights.bias import as_bias
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility
from tests.damage import damaged_copies, disk_of


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    loaded = load("all-MiniLM-L6-v2")
    return AttentionRecord.of(record_texts(loaded, ["The quick brown fox jumps over the lazy dog."])[0])


def test_tiles_are_cut_from_the_whole(record: AttentionRecord) -> None:
    whole = record.weights(3, 7)
    assert whole.shape == (12, 12)
    torch.testing.assert_close(record.weights(3, 7, queries=slice(2, 5), keys=slice(1, -1)), whole[2:5, 1:-1])
    torch.testing.assert_close(record.weights(3, queries=4), record.weights(3)[:, 4])
    torch.testing.assert_close(whole.sum(-1), torch.ones(12))


def test_a_tile_is_the_callers_own(record: AttentionRecord) -> None:
    before = record.weights(0, 0).clone()
    record.weights(0, 0).zero_()
    assert torch.equal(record.weights(0, 0), before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"layer": 6}, r"No site answers to layer=6"),
        ({"layer": -7}, r"No site answers to layer=-7"),
        ({"layer": 0, "head": 12}, r"no head 12.*0 to 11"),
        ({"layer": 0, "stack": "decoder"}, r"stack='decoder'"),
        ({"layer": 0, "head": 1, "queries": 12}, r"no query 12"),
        ({"layer": 0, "head": 1, "keys": slice(0, 8, 2)}, r"plain slices"),
    ],
)
def test_what_does_not_exist_is_named(record: AttentionRecord, arguments: dict, says: str) -> None:
    with pytest.raises(SelectionError, match=says):
        record.weights(**arguments)


def test_received_is_the_column_sum(record: AttentionRecord) -> None:
    torch.testing.assert_close(record.received(2), record.weights(2).sum(1))


def test_a_negative_layer_counts_from_the_end(record: AttentionRecord) -> None:
    assert torch.equal(record.weights(-1), record.weights(5))
    assert torch.equal(record.weights(-6), record.weights(0))


# From elsewhere


def test_weights_from_elsewhere_have_the_same_table(record: AttentionRecord) -> None:
    arrays = [entry.weights.full().numpy() for entry in record.entries]
    other = AttentionRecord.from_weights(arrays, record.tokens)
    mine, theirs = record.heads(), other.heads()
    for column in mine.columns[4:]:
        np.testing.assert_allclose(mine[column], theirs[column], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a[:, :, :4], r"shape \(2, 5, 4\)"),
        (lambda a: a * 2, r"sums to 2"),
        (lambda a: a - 1, r"negative"),
        (lambda a: np.where(a == a.max(), np.nan, a), r"layer 0, head .*nan"),
        (lambda a: np.where(a == a.max(), np.inf, a), r"inf"),
        (lambda a: np.array([["a"]]), r"not an array of numbers"),
        (lambda a: [], r"No weights"),
    ],
)
def test_arrays_that_are_no_weights(change, says: str) -> None:
    array = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 5)).astype(np.float32)
    with pytest.raises(InputError, match=says):
        AttentionRecord.from_weights(change(array), list("abcde"))


def test_causality_is_told_from_the_weights() -> None:
    causal = torch.softmax(torch.full((5, 5), -torch.inf).triu(1) + torch.rand(5, 5), -1)[None]
    record = AttentionRecord.from_weights(causal, list("abcde"))
    assert record.sites == (Site("decoder", "self", 0, 1),)
    assert record.heads()["min_weight"][0] > 0


# Files


def sources() -> dict[str, ScoreSource]:
    torch.manual_seed(1)
    query, key = torch.rand(1, 6, 5, 4), torch.rand(1, 2, 5, 4)
    everything = Visibility(5, 5)
    mask = torch.rand(1, 6, 5, 5) > 0.3
    mask[..., 0] = True
    parts = (torch.tensor([[0, 0, 0, 1, 1]]),) * 2
    return {
        "grouped": ScoreSource(query, key, 0.5, Visibility(5, 5, upper=0)),
        "capped": ScoreSource(query, key, 0.5, everything, softcap=3.0),
        "biased": ScoreSource(query, key, 0.5, everything, bias=as_bias(torch.rand(1, 6, 5, 5))),
        "relative": ScoreSource(query, key, 0.5, everything, bias=as_bias(torch.arange(5.0).expand(1, 6, 5, 5).tril())),
        "sinks": ScoreSource(query, key, 0.5, Visibility(5, 5, lower=-2, upper=0), sinks=torch.rand(6)),
        "masked": ScoreSource(query, key, 0.5, Visibility(5, 5, mask=mask)),
        "padded": ScoreSource(query, key, 0.5, Visibility(5, 5, key_seen=torch.tensor([[True] * 4 + [False]]))),
        "parts": ScoreSource(query, key, 0.5, Visibility(5, 5, segments=parts)),
        "half": ScoreSource(query.bfloat16(), key.bfloat16(), 0.5, everything),
    }


def test_a_saved_record_is_the_same(tmp_path: Path, record: AttentionRecord) -> None:
    again = AttentionRecord.load(record.save(tmp_path / "fox.attn"))
    assert (again.sites, again.tokens, again.fingerprint) == (record.sites, record.tokens, record.fingerprint)
    assert (again.model_name, again.exact, again.deviation) == (record.model_name, record.exact, record.deviation)
    for mine, other in zip(record.entries, again.entries, strict=True):
        assert torch.equal(mine.weights.full(), other.weights.full())
    assert record.heads().equals(again.heads())


@pytest.mark.parametrize("form", list(sources()))
def test_every_form_of_weights_is_saved(tmp_path: Path, form: str) -> None:
    tokens = Tokens.of_pieces("vwxyz")
    weights = QueryKeyWeights(sources()[form])
    record = AttentionRecord((SiteRecord(Site("decoder", "self", 0, 6), weights, tokens, tokens),), notes={"a": [1, 2]})
    again = AttentionRecord.load(record.save(tmp_path / "one.attn"))
    assert torch.equal(again.weights(0), record.weights(0))
    assert again.notes == {"a": [1, 2]}
    assert again.entries[0].weights.visibility.is_band == weights.visibility.is_band


def test_files_grow_linearly(tmp_path: Path) -> None:
    loaded = load("all-MiniLM-L6-v2")
    sizes = []
    for words in (60, 120, 240):
        record = AttentionRecord.of(record_texts(loaded, ["word " * words])[0])
        sizes.append(record.save(tmp_path / "r.attn").stat().st_size)
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.02)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, record: AttentionRecord) -> None:
    path = record.save(tmp_path / "fox.attn")
    before = path.read_bytes()
    with disk_of(len(before) // 2), pytest.raises(InputError, match=r"fox\.attn could not be written.*is unchanged"):
        record.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["fox.attn"]


def test_a_folder_that_is_not_there(tmp_path: Path, record: AttentionRecord) -> None:
    with pytest.raises(InputError, match="does not exist"):
        record.save(tmp_path / "no" / "fox.attn")


def test_files_that_are_no_records(tmp_path: Path, record: AttentionRecord) -> None:
    path = record.save(tmp_path / "fox.attn")
    with pytest.raises(FileFormatError, match="There is no file"):
        AttentionRecord.load(tmp_path / "none.attn")
    for bad in (b"", b"PK\x03\x04 something else", b"\xff" * 100):
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match="not a record, or is cut off"):
            AttentionRecord.load(path)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(FileFormatError, match="but not a record"):
        AttentionRecord.load(path)


def test_a_changed_bit_or_a_cut_is_noticed(tmp_path: Path, record: AttentionRecord) -> None:
    path = record.save(tmp_path / "fox.attn")
    for bad in damaged_copies(path.read_bytes(), 40, seed=1):
        path.write_bytes(bad)
        with pytest.raises(FileFormatError):
            AttentionRecord.load(path)


def header_of(path: Path) -> dict:
    with safe_open(path, "pt") as opened:
        return json.loads(opened.metadata()["attention_analyzer"])


def rewrite(path: Path, header: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Write a record's file with another header or other tensors, and a checksum that fits."""
    draft = draft_checksum()
    save_file(tensors, path, metadata={"attention_analyzer": json.dumps(header | {"checksum": draft})})
    seal(path, draft)


def test_a_file_of_the_first_version_loads_with_a_warning(tmp_path: Path, record: AttentionRecord) -> None:
    path = record.save(tmp_path / "fox.attn")
    old = {name: value for name, value in header_of(path).items() if name != "checksum"} | {"version": 1}
    save_file(load_file(path), path, metadata={"attention_analyzer": json.dumps(old)})
    with pytest.warns(UserWarning, match="older version, without a checksum"):
        again = AttentionRecord.load(path)
    assert torch.equal(again.weights(3), record.weights(3))


def test_a_file_that_lost_its_checksum(tmp_path: Path, record: AttentionRecord) -> None:
    path = record.save(tmp_path / "fox.attn")
    header = {name: value for name, value in header_of(path).items() if name != "checksum"}
    save_file(load_file(path), path, metadata={"attention_analyzer": json.dumps(header)})
    with pytest.raises(FileFormatError, match="lost its checksum"):
        AttentionRecord.load(path)


def change(header: dict, place: str, value: object) -> dict:
    """A copy with another value at a place such as ``sites/0/scaling``."""
    copied = json.loads(json.dumps(header))
    *parents, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    inner = copied
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return copied


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("version", 99),
        ("version", "2"),
        ("version", True),
        ("model_name", 5),
        ("fingerprint", None),
        ("exact", 1),
        ("deviation", "0"),
        ("deviation", -1),
        ("deviation", 10**400),
        ("notes", []),
        ("notes/deep", nested(200)),
        ("axes", []),
        ("axes/0", []),
        ("axes/0/pieces", [1] * 12),
        ("axes/0/pieces", ["a"] * 13),
        ("axes/0/ids", [1] * 13),
        ("axes/0/ids", [1.5] * 12),
        ("axes/0/ids", [2**70] * 12),
        ("axes/0/spans", [[0, 10**9]] * 12),
        ("axes/0/spans", [[3, 1]] * 12),
        ("axes/0/segments", [7] * 12),
        ("axes/0/is_special", [0] * 12),
        ("axes/0/texts", "abc"),
        ("sites", []),
        ("sites", {}),
        ("sites/0", None),
        ("sites/1/layer", 0),
        ("sites/0/stack", ""),
        ("sites/0/kind", "own"),
        ("sites/0/layer", -1),
        ("sites/0/layer", 1.0),
        ("sites/0/heads", 3),
        ("sites/0/heads", 0),
        ("sites/0/queries", -1),
        ("sites/0/keys", 9),
        ("sites/0/scaling", "x"),
        ("sites/0/scaling", None),
        ("sites/0/scaling", 10**400),
        ("sites/0/softcap", 0),
        ("sites/0/softcap", [1]),
        ("sites/0/bias", 3),
        ("sites/0/bias", {}),
        ("sites/0/bias", {"origin": 10**9, "queries": 12, "keys": 12}),
        ("sites/0/visibility", None),
        ("sites/0/visibility/lower", 2**70),
        ("sites/0/visibility/upper", -100),
        ("sites/0/visibility/queries", 11),
        ("sites/0/visibility/keys", "12"),
    ],
)
def test_headers_that_do_not_fit(tmp_path: Path, record: AttentionRecord, place: str, value: object) -> None:
    path = record.save(tmp_path / "fox.attn")
    header, tensors = header_of(path), load_file(path)
    rewrite(path, header, tensors)
    AttentionRecord.load(path)
    rewrite(path, change(header, place, value), tensors)
    with pytest.raises(FileFormatError):
        AttentionRecord.load(path)


@pytest.mark.parametrize("depth", [100_000, 400])
def test_a_header_nested_too_deeply(tmp_path: Path, record: AttentionRecord, depth: int) -> None:
    path = record.save(tmp_path / "fox.attn")
    text = json.dumps(header_of(path) | {"notes": {"a": "HERE"}}).replace('"HERE"', "[" * depth + "]" * depth)
    draft = draft_checksum()
    save_file(load_file(path), path, metadata={"attention_analyzer": text, "checksum": draft})
    seal(path, draft)
    with pytest.raises(FileFormatError, match=r"nested|recursion"):
        AttentionRecord.load(path)


NAMED = "encoder.self.0"
TENSORS = {
    "no head": {"key": torch.rand(1, 0, 12, 32)},
    "fewer channels": {"key": torch.rand(1, 12, 12, 7)},
    "four key heads for six": {"key": torch.rand(1, 5, 12, 32)},
    "two texts": {"query": torch.rand(2, 12, 12, 32), "key": torch.rand(2, 12, 12, 32)},
    "whole numbers": {"query": torch.ones(1, 12, 12, 32, dtype=torch.int32)},
    "queries that are not finite": {"query": torch.full((1, 12, 12, 32), torch.nan)},
    "two kinds of numbers": {"key": torch.rand(1, 12, 12, 32).half()},
    "three sinks": {"sinks": torch.rand(3)},
    "sinks that are not finite": {"sinks": torch.full((12,), torch.inf)},
    "a bias that is not described": {"bias": torch.rand(1, 1, 12, 12)},
    "a mask of another shape": {"mask": torch.ones(1, 1, 5, 5, dtype=torch.bool)},
    "a mask of numbers": {"mask": torch.ones(1, 1, 12, 12)},
    "a mask that hides everything": {"mask": torch.zeros(1, 1, 12, 12, dtype=torch.bool)},
    "a short key mask": {"key_seen": torch.ones(1, 5, dtype=torch.bool)},
    "segments of keys only": {"key_segments": torch.zeros(1, 12, dtype=torch.int64)},
    "a tensor of nothing": {"other": torch.rand(3)},
    "weights besides": {"weights": torch.full((1, 12, 12, 12), 1 / 12)},
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_do_not_fit(tmp_path: Path, record: AttentionRecord, what: str) -> None:
    path = record.save(tmp_path / "fox.attn")
    changed = {f"{NAMED}.{part}": tensor for part, tensor in TENSORS[what].items()}
    rewrite(path, header_of(path), load_file(path) | changed)
    with pytest.raises(FileFormatError):
        AttentionRecord.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda w: -w,
        lambda w: w * 3,
        lambda w: w * 0.5,
        lambda w: w.masked_fill(w == w.max(), torch.nan),
        lambda w: w[:, :1],
    ],
)
def test_stored_weights_that_are_none(tmp_path: Path, damage: Callable[[torch.Tensor], torch.Tensor]) -> None:
    weights = torch.softmax(torch.rand(2, 5, 5), -1)
    path = AttentionRecord.from_weights([weights], list("vwxyz")).save(tmp_path / "given.attn")
    header, tensors = header_of(path), load_file(path)
    rewrite(path, header, tensors)
    assert torch.equal(AttentionRecord.load(path).weights(0), weights)
    rewrite(path, header, {name: damage(tensor) for name, tensor in tensors.items()})
    with pytest.raises(FileFormatError):
        AttentionRecord.load(path)


def test_nothing_in_a_file_is_executed(tmp_path: Path, record: AttentionRecord) -> None:
    import pickle

    class Touch:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "touched",)

    for content in (pickle.dumps(Touch()), pickle.dumps({"query": Touch()})):
        (tmp_path / "evil.attn").write_bytes(content)
        with pytest.raises(FileFormatError):
            AttentionRecord.load(tmp_path / "evil.attn")
    torch.save({"query": Touch()}, tmp_path / "evil.attn")
    with pytest.raises(FileFormatError):
        AttentionRecord.load(tmp_path / "evil.attn")
    assert not (tmp_path / "touched").exists()


def test_notes_that_are_no_json(tmp_path: Path, record: AttentionRecord) -> None:
    with pytest.raises(InputError, match="its notes are no JSON"):
        AttentionRecord(record.entries, notes={"a": float("nan")}).save(tmp_path / "a.attn")


# Whole matrices


def test_matrices_behave_like_a_models_own(record: AttentionRecord) -> None:
    matrices = matrices_of(record)
    assert len(matrices) == len(list(matrices)) == 6
    assert matrices[0].shape == (1, 12, 12, 12)
    assert torch.equal(matrices[-1][0], record.weights(5))
    assert list(matrices.as_dict()) == [f"encoder.self.{layer}" for layer in range(6)]
    assert len(matrices[1:3]) == 2
    with pytest.raises(IndexError):
        matrices[6]


def test_matrices_that_do_not_fit_are_refused(record: AttentionRecord) -> None:
    with pytest.raises(TooLongError, match=r"record\.weights.*record\.heads\(\).*max_bytes"):
        matrices_of(record, limit=10_000)
