"""Models whose parts lie in several places are captured and told apart as those in one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.offload import input_device, on_several_devices
from attention_analyzer.record import AttentionRecord
from tests.hooks.small import inputs_of, make

TEXT = "The keys to the old cabinet were on the table"
PARTS = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.layers.2": "disk",
    "model.layers.3": "cpu",
    "model.layers.4": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


@pytest.fixture(scope="module")
def whole() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


def weights_of(record: AttentionRecord) -> list[Tensor]:
    return [
        entry.weights.tile(0, slice(0, entry.weights.heads), slice(0, entry.weights.queries))
        for entry in record.entries
    ]


@pytest.mark.parametrize("places", [PARTS, {"": "disk"}], ids=["some layers", "everything"])
def test_layers_on_disk(whole: AttentionAnalyzer, places: dict[str, str], tmp_path: Path) -> None:
    parted = AttentionAnalyzer("demo-decoder", device_map=places, offload_folder=tmp_path, cache=False)
    assert any(parameter.is_meta for parameter in parted.model.parameters())
    assert parted.device == torch.device("cpu")
    assert parted.fingerprint == whole.fingerprint
    found, expected = parted.record(TEXT), whole.record(TEXT)
    assert found.exact
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))


def test_the_fingerprint_reads_what_lies_on_disk(whole: AttentionAnalyzer, tmp_path: Path) -> None:
    changed = AttentionAnalyzer("demo-decoder", cache=False)
    with torch.no_grad():
        changed.model.model.layers[1].self_attn.q_proj.weight[3, 5] += 1
    changed.model.save_pretrained(tmp_path / "changed")
    parted = AttentionAnalyzer(tmp_path / "changed", device_map=PARTS, offload_folder=tmp_path / "off", cache=False)
    assert parted.fingerprint == changed.fingerprint != whole.fingerprint


def test_several_devices_are_told_from_one() -> None:
    model = make("encoder")
    assert input_device(model) == torch.device("cpu")
    assert LoadedModel(model).store is None
    model.hf_device_map = {"embeddings": 0, "encoder": "cpu", "pooler": "disk"}
    assert not on_several_devices(model)
    model.hf_device_map = {"embeddings": 0, "encoder": 1}
    assert LoadedModel(model).store == torch.device("cpu")


@pytest.mark.parametrize("form", ["sliding window", "position bias and cross-attention", "ALiBi", "sinks"])
def test_everything_recorded_goes_where_it_is_to_be_kept(form: str) -> None:
    """Torch's ``meta`` stands for another device: what would stay in a GPU's memory stays a CPU tensor here."""
    model, inputs = make(form), inputs_of(form)
    inputs["attention_mask"][1, -3:] = 0
    valid = inputs["attention_mask"].bool()
    forward = capture_forward(model, inputs, valid=valid, store=torch.device("meta"))
    here = capture_forward(model, inputs, valid=valid)
    assert [site for site, _ in forward.sites] == [site for site, _ in here.sites]
    assert forward.deviation == here.deviation
    kept = [tensor for _, weights in forward.sites for tensor in _tensors(weights)]
    assert len(kept) >= len(forward.sites)
    assert all(tensor.is_meta for tensor in kept)
    assert not any(tensor.is_meta for _, weights in here.sites for tensor in _tensors(weights))


def test_a_mask_that_layers_share_is_moved_once() -> None:
    model, inputs = make("encoder"), inputs_of("encoder")
    inputs["attention_mask"][1, -3:] = 0
    forward = capture_forward(model, inputs, valid=None, store=torch.device("meta"))
    first, second = (weights.visibility for _, weights in forward.sites)
    assert first.key_seen is not None
    assert first is second


def test_where_to_keep_is_an_option_of_loading() -> None:
    analyzer = AttentionAnalyzer("demo-decoder", keep_on="meta", cache=False)
    assert all(t.is_meta for entry in analyzer.record(TEXT).entries for t in _tensors(entry.weights))


def _tensors(holder: object) -> list[Tensor]:
    """All tensors within a frozen object and those in it."""
    if isinstance(holder, Tensor):
        return [holder]
    if isinstance(holder, tuple):
        return [tensor for part in holder for tensor in _tensors(part)]
    return [tensor for part in getattr(holder, "__dict__", {}).values() for tensor in _tensors(part)]
