"""What a model can be named as, and what happens to names that are none."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from attention_analyzer.errors import InputError, ModelError, ModelNotFoundError
from attention_analyzer.models.catalog import PACKAGED, available, offline_encoder
from attention_analyzer.models.fingerprint import fingerprint
from attention_analyzer.models.loading import from_config, load
from attention_analyzer.models.locating import hub_answers

TINY = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 16, "vocab_size": 40}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_loads_as_what_it_was_saved_as(checkpoint: Path) -> None:
    loaded = load(checkpoint)
    assert isinstance(loaded.model, BertForMaskedLM)
    assert not loaded.model.training
    assert loaded.architecture == "encoder"
    assert isinstance(load(checkpoint, model_class="BertModel").model, BertModel)


def test_a_folder_without_a_tokenizer_is_loaded_and_refuses_text(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer.*tokenizer=…"):
        load(checkpoint).need_tokenizer()


def test_pickled_weights_are_not_read_unless_asked(checkpoint: Path) -> None:
    model = load(checkpoint).model
    torch.save(model.state_dict(), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        load(checkpoint)
    same = load(checkpoint, allow_pickle=True).model
    assert fingerprint(same) == fingerprint(model)


def test_corrupt_weights_are_an_error_of_ours(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ModelError, match="could not be loaded"):
        load(checkpoint)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name", ["someone/some-model", "nothing-of-this-name", "./no/such/folder", "/no/such/folder", "a b?c"]
)
def test_a_named_model_is_never_replaced(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=PACKAGED):
        load(name)


def test_a_checkpoint_of_a_bundled_history_has_a_name() -> None:
    early, middle = (load(f"demo-decoder-history/{name}") for name in ("early", "middle"))
    assert early.name == "demo-decoder-history/early"
    assert early.tokenizer is not None
    assert len({early.fingerprint, middle.fingerprint, load("demo-decoder").fingerprint}) == 3


@pytest.mark.parametrize("name", ["demo-decoder-history/late", "demo-decoder-history", "demo-decoder/.."])
def test_no_other_folder_of_the_bundle_is_a_name(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        load(name)


def test_an_empty_name() -> None:
    with pytest.raises(InputError, match="name is empty"):
        load("  ")


def test_nothing_named_falls_back_with_one_warning() -> None:
    with pytest.warns(UserWarning, match=r"^No model was named and bert-base-uncased .* offline encoder") as caught:
        loaded = load()
    assert len(caught) == 1
    assert loaded.name == offline_encoder()


def test_an_unreachable_hub_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    hub_answers.cache_clear()
    try:
        with pytest.raises(ModelNotFoundError, match="cannot be reached"):
            load("someone/some-model")
    finally:
        hub_answers.cache_clear()


def test_the_packaged_encoder_is_listed() -> None:
    names = {model.name: model for model in available()}
    assert names[PACKAGED].summary == "bert, 6 layers × 12 heads"


def test_a_loaded_model_is_taken_as_it_is() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=12, n_layer=1, n_head=2, vocab_size=30))
    model.train()
    loaded = load(model)
    assert loaded.model is model
    assert model.training
    assert loaded.architecture == "decoder"
    with loaded.evaluating():
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("given", [3, "bert-base-uncased", ["a"], nn.Linear(2, 2), str.split])
def test_what_is_no_tokenizer_is_refused(given: object) -> None:
    with pytest.raises(InputError, match=r"The tokenizer must be a tokenizer or processor .*AutoTokenizer"):
        load(BertModel(BertConfig(**TINY)), given)


def test_positions() -> None:
    assert from_config(BertConfig(**TINY, max_position_embeddings=77)).max_length == 77
    roberta = from_config(RobertaConfig(**TINY, max_position_embeddings=66, pad_token_id=1), model_class=RobertaModel)
    assert roberta.max_length == 64
    with torch.no_grad():
        roberta.model(torch.full((1, 64), 7))
        with pytest.raises((IndexError, RuntimeError)):
            roberta.model(torch.full((1, 65), 7))
    t5 = T5Config(d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=3, vocab_size=30)
    assert from_config(t5, model_class=T5ForConditionalGeneration).max_length is None


def test_custom_configurations_are_reproducible_and_leave_the_random_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (from_config(BertConfig(**TINY), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_the_fingerprint_follows_every_kind_of_change() -> None:
    loaded = from_config(BertConfig(**TINY))
    seen = {loaded.fingerprint}
    weight = loaded.model.encoder.layer[1].output.dense.weight
    with torch.no_grad():
        weight[3, 4] += 1
    seen.add(loaded.fingerprint)
    weight.data.mul_(1.01)  # not counted by torch's version counter
    seen.add(loaded.fingerprint)
    loaded.model.config.hidden_act = "relu"
    assert len(seen) == 3
    assert fingerprint(loaded.model) not in seen


def test_the_fingerprint_follows_what_modules_are_set_to() -> None:
    """Factors and switches that are no weights, such as an adapter's."""
    loaded = from_config(BertConfig(**TINY))
    before = loaded.fingerprint
    attention = loaded.model.encoder.layer[0].attention.self
    scaling, attention.scaling = attention.scaling, 1.0
    changed = loaded.fingerprint
    attention.adapters = {"first": 2.0}
    assert len({before, changed, loaded.fingerprint}) == 3
    del attention.adapters
    attention.scaling = scaling
    loaded.model.train().eval()
    assert loaded.fingerprint == before


def test_a_model_without_weights_is_refused() -> None:
    from attention_analyzer import AttentionAnalyzer

    with torch.device("meta"):
        analyzer = AttentionAnalyzer(BertModel(BertConfig(**TINY)), cache=False)
    inputs = {"input_ids": torch.tensor([[3, 4, 5]])}
    for ask in (
        lambda: analyzer.fingerprint,
        lambda: analyzer.record(inputs=inputs),
        lambda: analyzer.diagnose(inputs=inputs),
    ):
        with pytest.raises(ModelError, match=r"lies on torch's meta device"):
            ask()


def test_loading_leaves_the_progress_bar_setting() -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    load(PACKAGED)
    assert logging.is_progress_bar_enabled() == before


@pytest.mark.parametrize(
    ("device", "dtype", "says"), [("gpu9", "auto", "device 'gpu9'"), ("cpu", "float99", "no dtype")]
)
def test_devices_and_dtypes_that_are_none(checkpoint: Path, device: str, dtype: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(checkpoint, device=device, dtype=dtype)


def test_half_precision_checkpoints_run_in_float32_on_a_cpu(checkpoint: Path) -> None:
    load(checkpoint).model.half().save_pretrained(checkpoint)
    assert json.loads((checkpoint / "config.json").read_text())["dtype"] == "float16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(checkpoint, device="cpu").dtype == torch.float32
        assert load(checkpoint, device="cpu", dtype="float16").dtype == torch.float16
