"""A capture hears its own model in its own thread and leaves nothing behind, whatever happens inside the forward."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from transformers import BertConfig, BertForMaskedLM, FNetConfig, FNetModel, LlamaForCausalLM
from transformers.modeling_utils import AttentionInterface

from attention_analyzer.errors import CaptureError, UnsupportedModelError
from attention_analyzer.hooks import forward
from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.hooks.interface_hook import AttentionCall, hook_attention
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.hooks.verification import run_alone, same_bits, verify_model
from attention_analyzer.weights.base import AttentionWeights
from tests.hooks.small import TOKENS, inputs_of, make, words

GET_INTERFACE = AttentionInterface.get_interface


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert AttentionInterface.get_interface is GET_INTERFACE
    assert not _global_forward_hooks
    assert not _global_forward_pre_hooks
    assert not _get_current_dispatch_mode_stack()


class Counter:
    """A listener that notes where it was called."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def before(self, call: AttentionCall) -> AttentionCall:
        return call

    def after(self, call: AttentionCall, output: Tensor) -> Tensor:
        self.heard.append(call.name)
        return output


class Broken(Exception):
    pass


def fail(*_: Any) -> None:
    raise Broken


def full(weights: AttentionWeights) -> Tensor:
    return torch.stack(
        [weights.tile(text, slice(0, weights.heads), slice(0, weights.queries)) for text in range(weights.batch)]
    )


def tensors_of(model: nn.Module, inputs: dict[str, Any]) -> list[Tensor]:
    return [full(weights) for _, weights in capture_forward(model, inputs, valid=None).sites]


def test_only_the_model_that_is_listened_to_is_heard() -> None:
    mine, other, counter = make("encoder"), make("encoder"), Counter()
    with hook_attention(mine, counter):
        other(**inputs_of("encoder"))
        assert counter.heard == []
        mine(**inputs_of("encoder"))
    assert counter.heard == ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"]
    mine(**inputs_of("encoder"))
    assert len(counter.heard) == 2


def test_taps_nest_and_the_inner_one_hears_first() -> None:
    model, order = make("encoder"), []

    class Named(Counter):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def after(self, call: AttentionCall, output: Tensor) -> Tensor:
            order.append(self.name)
            return output

    with hook_attention(model, Named("outer")), hook_attention(model, Named("inner")):
        model(**inputs_of("encoder"))
    assert order == ["inner", "outer", "inner", "outer"]


def test_captures_nest() -> None:
    """A capture inside another's forward (a model within a model, or a callback) sees only its own."""
    outer, inner = make("encoder"), make("grouped queries")
    expected_inner = tensors_of(inner, inputs_of("grouped queries"))
    seen: list[list[Tensor]] = []

    def look(*_: Any) -> None:
        seen.append(tensors_of(inner, inputs_of("grouped queries")))

    handle = outer.encoder.layer[1].register_forward_hook(look)
    found = capture_forward(outer, inputs_of("encoder"), valid=None)
    handle.remove()
    assert [site.name for site, _ in found.sites] == ["encoder.self.0", "encoder.self.1"]
    for one in seen:
        assert all(map(torch.equal, one, expected_inner))
    assert seen
    assert all(map(torch.equal, [full(w) for _, w in found.sites], tensors_of(make("encoder"), inputs_of("encoder"))))


def test_a_listener_that_changes_something_changes_the_output_only_while_it_listens() -> None:
    model, inputs = make("encoder"), inputs_of("encoder")
    plain = run_alone(model, inputs)

    class Silence(Counter):
        def after(self, call: AttentionCall, output: Tensor) -> Tensor:
            return torch.zeros_like(output)

    class Hide(Counter):
        def before(self, call: AttentionCall) -> AttentionCall:
            return AttentionCall(
                call.module, call.name, call.backend, call.query, call.key, call.value * 0, call.mask, call.options
            )

    for listener in (Silence(), Hide()):
        with hook_attention(model, listener):
            changed = run_alone(model, inputs)
        assert not same_bits(plain, changed)
    assert same_bits(plain, run_alone(model, inputs))


def test_what_is_captured_under_an_intervention_is_what_then_happened() -> None:
    """Knocking out the first layer's output changes the weights of the second, and those are shown."""
    model, inputs = make("encoder", "sdpa"), inputs_of("encoder")
    alone = tensors_of(model, inputs)

    class Silence(Counter):
        def after(self, call: AttentionCall, output: Tensor) -> Tensor:
            return torch.zeros_like(output) if "layer.0" in call.name else output

    with hook_attention(model, Silence()):
        changed = tensors_of(model, inputs)
    assert torch.equal(alone[0], changed[0])
    assert not torch.allclose(alone[1], changed[1], atol=1e-3)


def test_threads_do_not_hear_each_other() -> None:
    models = [make("encoder", seed=1), make("grouped queries", seed=2), make("encoder", seed=3), make("ALiBi", seed=4)]
    inputs = [inputs_of("encoder")] * 4
    expected = [tensors_of(model, given) for model, given in zip(models, inputs, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(tensors_of, models * 5, inputs * 5))
    for one, other in zip(found, expected * 5, strict=True):
        assert len(one) == len(other)
        assert all(torch.allclose(mine, theirs, atol=1e-6) for mine, theirs in zip(one, other, strict=True))


def test_one_model_in_two_threads() -> None:
    """One thread listens while the other runs the same model not_captured."""
    model, inputs, started, ended = make("encoder"), inputs_of("encoder"), threading.Event(), threading.Event()
    counter = Counter()

    def listen() -> None:
        with hook_attention(model, counter):
            started.set()
            ended.wait(10)

    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(listen)
        started.wait(10)
        model(**inputs)
        ended.set()
        listening.result()
    assert counter.heard == []


@pytest.mark.parametrize("form", ["encoder", "ALiBi"])
def test_an_error_inside_the_forward_passes_through_and_leaves_nothing(form: str) -> None:
    model, inputs = make(form), inputs_of(form)
    before = tensors_of(model, inputs)
    deep = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    handle = deep.register_forward_hook(fail)
    for _ in range(2):
        with pytest.raises(Broken):
            capture_forward(model, inputs, valid=None)
    handle.remove()
    assert all(map(torch.equal, before, tensors_of(model, inputs)))


def test_an_error_of_the_listener_passes_through_and_leaves_nothing() -> None:
    def keep(place: CallSite, weights: AttentionWeights) -> None:
        raise Broken

    for form in ("encoder", "ALiBi"):
        with pytest.raises(Broken):
            capture_forward(make(form), inputs_of(form), valid=None, keep=keep)


def test_the_caller_s_gradient_mode_and_random_state_stay() -> None:
    model, state = make("encoder"), torch.random.get_rng_state()
    capture_forward(model, inputs_of("encoder"), valid=None)
    assert torch.is_grad_enabled()
    assert torch.equal(state, torch.random.get_rng_state())
    with torch.no_grad():
        capture_forward(model, inputs_of("encoder"), valid=None, grad=True)
        assert not torch.is_grad_enabled()


def test_a_cache_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is heard at other modules than before is run again, but what a forward changed is no input more."""
    model, ids = make("grouped queries"), words(batch=1)
    with torch.no_grad():
        past = model(input_ids=ids[:, :-1], use_cache=True).past_key_values
    monkeypatch.setattr(forward, "_interface_only", WeakKeyDictionary({model: {frozenset[int]()}}))
    step = {"input_ids": ids[:, -1:], "past_key_values": past, "use_cache": True}
    found = capture_forward(model, step, valid=None)
    assert past.get_seq_length() == TOKENS
    assert {weights.keys for _, weights in found.sites} == {TOKENS}


def test_parameters_and_inputs_are_not_written_to() -> None:
    for form in ("encoder", "sinks", "position bias and cross-attention", "ALiBi"):
        model, inputs = make(form), inputs_of(form)
        parameters = {name: value.clone() for name, value in model.state_dict().items()}
        given = {name: value.clone() for name, value in inputs.items()}
        for _, weights in capture_forward(model, inputs, valid=None).sites:
            weights.full().zero_()
        assert all(torch.equal(value, parameters[name]) for name, value in model.state_dict().items())
        assert all(torch.equal(value, given[name]) for name, value in inputs.items())


@pytest.mark.parametrize("form", ["encoder", "grouped queries", "position bias and cross-attention"])
def test_training_goes_on_with_the_same_gradients(form: str) -> None:
    def gradients(listened: bool) -> list[Tensor]:
        model, inputs = make(form, "sdpa").train(), inputs_of(form)
        torch.manual_seed(4)
        if listened:
            outputs = capture_forward(model, inputs, valid=None, grad=True).outputs
        else:
            outputs = model(**inputs)
        outputs[0].square().sum().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    alone, heard = gradients(False), gradients(True)
    assert alone
    assert all(map(torch.equal, alone, heard))


def test_kept_queries_hold_no_graph() -> None:
    model = make("encoder").train()
    for _, weights in capture_forward(model, inputs_of("encoder"), valid=None, grad=True).sites:
        assert not weights.source.query.requires_grad
        assert weights.source.query.grad_fn is None


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")  # its new name is not in 5.0
def test_gradient_checkpointing() -> None:
    """Layers are run again in the backward pass, when nobody listens any more."""

    def gradients(listened: bool) -> tuple[list[Tensor], int]:
        model = make("grouped queries", "sdpa", build=LlamaForCausalLM).train()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        inputs = inputs_of("grouped queries") | {"use_cache": False}
        inputs["labels"] = inputs["input_ids"]
        sites = 0
        if listened:
            found = capture_forward(model, inputs, valid=None, grad=True)
            sites, outputs = len(found.sites), found.outputs
        else:
            outputs = model(**inputs)
        outputs.loss.backward()
        return [parameter.grad for parameter in model.parameters()], sites

    alone, (heard, sites) = gradients(False)[0], gradients(True)
    assert sites == 2
    assert all(map(torch.equal, alone, heard))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch about itself, while it compiles
@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_model_runs_as_it_was_written(in_place: bool) -> None:
    model, inputs = make("encoder", "sdpa"), inputs_of("encoder")
    expected = tensors_of(model, inputs)
    compiled = model if in_place else torch.compile(model, backend="eager")
    if in_place:
        model.compile(backend="eager")
    with torch.no_grad():
        plain = compiled(**inputs)
    found = capture_forward(compiled, inputs, valid=None)
    assert [site.name for site, _ in found.sites] == ["encoder.self.0", "encoder.self.1"]
    assert all(map(torch.equal, [full(weights) for _, weights in found.sites], expected))
    assert torch.allclose(plain[0], found.outputs[0], atol=1e-5)
    assert verify_model(compiled, inputs).holds


def test_a_function_that_is_not_attention_is_an_error_and_not_a_picture() -> None:
    """An attention function of the user's own, whose output is not weights times values."""

    def off_by_a_little(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        output, weights = AttentionInterface._global_mapping["sdpa"](module, query, key, value, mask, **options)
        return output * 1.01, weights

    AttentionInterface.register("off_by_a_little", off_by_a_little)
    try:
        model = make("encoder")
        model.set_attn_implementation("off_by_a_little")
        with pytest.raises(CaptureError, match="could not be reproduced"):
            capture_forward(model, inputs_of("encoder"), valid=None)
        capture_forward(model, inputs_of("encoder"), valid=None, check=False)
    finally:
        AttentionInterface._global_mapping.pop("off_by_a_little")


def test_a_model_without_attention_is_refused() -> None:
    model = FNetModel(FNetConfig(vocab_size=61, hidden_size=8, num_hidden_layers=1, intermediate_size=8)).eval()
    with pytest.raises(UnsupportedModelError, match="FNetModel ran without any attention"):
        capture_forward(model, {"input_ids": inputs_of("encoder")["input_ids"]}, valid=None)


@pytest.mark.parametrize("name", ["LinearAttention", "MemoryAttentionMLP", "RelativeAttentionBias"])
def test_attention_that_has_no_weights_is_named_but_nothing_beside_it(name: str) -> None:
    model = make("encoder")
    part = model.get_submodule("encoder.layer.1.intermediate.dense")
    part.__class__ = type(name, (nn.Linear,), {})
    not_captured = capture_forward(model, inputs_of("encoder"), valid=None).not_captured
    assert not_captured == (("encoder.layer.1.intermediate.dense",) if name == "LinearAttention" else ())


def test_heads_of_a_task_do_not_matter() -> None:
    config = BertConfig(vocab_size=61, hidden_size=24, num_attention_heads=6, num_hidden_layers=2, intermediate_size=20)
    model = BertForMaskedLM(config).eval()
    names = [site.module for site, _ in capture_forward(model, inputs_of("encoder"), valid=None).sites]
    assert names == ["bert.encoder.layer.0.attention.self", "bert.encoder.layer.1.attention.self"]


def test_streaming_sees_the_same_as_recording_and_holds_nothing() -> None:
    model, inputs = make("sinks"), inputs_of("sinks")
    recorded = tensors_of(model, inputs)
    found = capture_forward(model, inputs, valid=None, keep=lambda place, weights: (place.path, full(weights)))
    assert [path for _, (path, _) in found.sites] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert all(torch.equal(weights, mine) for (_, (_, weights)), mine in zip(found.sites, recorded, strict=True))
