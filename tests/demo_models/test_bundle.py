"""What is shipped: folders small enough for a package, complete, and honest about themselves."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, VisionEncoderDecoderModel

from demo_models.cards import write_card
from demo_models.publishing import BUNDLED

MODELS = {
    "demo-captioner": "vision-encoder-decoder",
    "demo-decoder": "llama",
    "demo-encoder": "bert",
    "demo-listener": "whisper",
    "demo-reader": "llama",
    "demo-translator": "t5",
}


@pytest.mark.parametrize("name", MODELS)
def test_fits_into_eight_megabytes(name: str) -> None:
    assert sum(file.stat().st_size for file in (BUNDLED / name).rglob("*")) <= 8_000_000


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_float16_on_disk_and_float32_when_loaded(name: str) -> None:
    stored = load_file(BUNDLED / name / "model.safetensors")
    assert {values.dtype for values in stored.values()} == {torch.float16}
    # There is no base class of an image encoder with a text decoder.
    made_by = VisionEncoderDecoderModel if name == "demo-captioner" else AutoModel
    assert made_by.from_pretrained(BUNDLED / name).dtype == torch.float32


@pytest.mark.parametrize(("name", "family"), MODELS.items())
def test_loads_by_plain_transformers(name: str, family: str) -> None:
    assert AutoConfig.from_pretrained(BUNDLED / name).model_type == family
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED / name)
    encoded = tokenizer("two words", return_offsets_mapping=True)
    assert encoded["offset_mapping"]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_in_the_folder_names_a_place_on_a_disk(name: str) -> None:
    for file in (BUNDLED / name).glob("*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            assert not str(content.get("_name_or_path", "")).startswith("/")
            assert "name_or_path" not in content or not str(content["name_or_path"]).startswith("/")


@pytest.mark.parametrize("name", MODELS)
def test_card_is_the_one_written_from_the_numbers(name: str, tmp_path) -> None:
    copy = tmp_path / name
    copy.mkdir()
    for part in ("measured.json", "loss.csv"):
        (copy / part).write_bytes((BUNDLED / name / part).read_bytes())
    write_card(copy)
    assert (copy / "README.md").read_text("utf-8") == (BUNDLED / name / "README.md").read_text("utf-8")
    for topic in ("## Training", "## Measured", "cannot do", "## Loss curve", "## Licence"):
        assert topic in (copy / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["demo-encoder", "demo-decoder"])
def test_held_out_loss_on_the_card_is_far_below_the_unigram_baseline(name: str) -> None:
    measured = json.loads((BUNDLED / name / "measured.json").read_text(encoding="utf-8"))
    for source in ("novels", "stories"):
        assert measured[f"{source}_loss"] < measured[f"{source}_unigram_loss"] - 1.5
