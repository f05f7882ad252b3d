"""What is captured is what the model did, for every form of attention and backend; and nothing changes by listening."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BloomForCausalLM

from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.hooks.verification import run_alone, same_bits, verify_model
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from tests.hooks.small import BACKENDS, DECODERS, FORMS, ONE_TEXT, TARGETS, TOKENS, inputs_of, make, words

every_backend = pytest.mark.parametrize(("form", "backend"), BACKENDS)
every_text = pytest.mark.parametrize("form", ONE_TEXT)


def full(weights: AttentionWeights, text: int = 0) -> Tensor:
    return weights.tile(text, slice(0, weights.heads), slice(0, weights.queries))


def weights_of(model: nn.Module, inputs: dict[str, Any], valid: Tensor | None = None) -> dict[str, AttentionWeights]:
    return {site.name: weights for site, weights in capture_forward(model, inputs, valid=valid).sites}


def handed_over(form: str) -> dict[str, Tensor]:
    """The weights that the model itself computes under eager attention, ``[batch, head, query, key]`` by site."""
    outputs = make(form)(**inputs_of(form), output_attentions=True)
    stacks = {
        "encoder.self": outputs.get("encoder_attentions"),
        "decoder.self": outputs.get("decoder_attentions"),
        "decoder.cross": outputs.get("cross_attentions"),
    }
    if "attentions" in outputs:
        stacks["decoder.self" if form in DECODERS else "encoder.self"] = outputs.attentions
    return {f"{name}.{layer}": part for name, parts in stacks.items() for layer, part in enumerate(parts or ())}


@every_backend
def test_outputs_are_the_same_bits_and_nothing_is_left(form: str, backend: str) -> None:
    model = make(form, backend)
    for inputs in (inputs_of(form), inputs_of(form) | ({"output_attentions": True} if backend == "eager" else {})):
        proof = verify_model(model, inputs)
        assert proof.identical
        assert proof.untouched
        assert proof.row_error < 1e-5
        assert proof.exact == (form != "ALiBi")


@every_backend
def test_weights_equal_the_ones_the_model_hands_over(form: str, backend: str) -> None:
    captured = weights_of(make(form, backend), inputs_of(form))
    expected = handed_over(form)
    assert list(captured) == sorted(expected, key=list(captured).index)
    for name, weights in captured.items():
        for text in range(weights.batch):
            torch.testing.assert_close(full(weights, text), expected[name][text], rtol=1e-5, atol=1e-5)


def test_forms_are_told_apart() -> None:
    told = {form: set(verify_model(make(form), inputs_of(form)).forms) for form in FORMS}
    for form, expected in {
        "encoder": set(),
        "grouped queries": {"grouped queries", "causal"},
        "sliding window": {"grouped queries", "causal", "sliding window"},
        "softcap and mixed windows": {"grouped queries", "causal", "sliding window", "softcap", "unusual scaling"},
        "sinks": {"grouped queries", "causal", "sliding window", "sinks"},
        "position bias and cross-attention": {"bias", "causal", "unusual scaling"},
        "ALiBi": {"computed by the model"},
        "cross-attention": {"causal"},
    }.items():
        assert told[form] == expected, form


def test_a_causal_model_s_record_stays_linear_in_the_text() -> None:
    """Masks of a causal model, windowed or not, are kept as a band: two numbers."""
    for form in ("grouped queries", "sliding window", "sinks", "softcap and mixed windows"):
        for weights in weights_of(make(form), inputs_of(form)).values():
            assert isinstance(weights, QueryKeyWeights)
            assert weights.visibility.is_band, form
            assert weights.source.bias is None


def test_a_relative_bias_is_kept_as_its_diagonals() -> None:
    from attention_analyzer.weights.bias import RelativeBias

    model = make("position bias and cross-attention")
    captured = weights_of(model, inputs_of("position bias and cross-attention"))
    for name in ("encoder.self.0", "encoder.self.1", "decoder.self.0", "decoder.self.1"):
        weights = captured[name]
        assert isinstance(weights, QueryKeyWeights)
        assert isinstance(weights.source.bias, RelativeBias), name


@every_backend
def test_sites_are_named_and_counted(form: str, backend: str) -> None:
    sites = [site for site, _ in capture_forward(make(form, backend), inputs_of(form), valid=None).sites]
    two_stacks = [f"encoder.self.{layer}" for layer in (0, 1)]
    two_stacks += [f"decoder.{kind}.{layer}" for layer in (0, 1) for kind in ("self", "cross")]
    stack = "decoder" if form in DECODERS else "encoder"
    count = 3 if form == "shared layers" else 2
    alone = [f"{stack}.self.{layer}" for layer in range(count)]
    assert [site.name for site in sites] == (two_stacks if "cross-attention" in form else alone)
    assert all(site.heads == 6 for site in sites)


@pytest.mark.parametrize(("form", "backend"), [pair for pair in BACKENDS if pair[0] in ONE_TEXT])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(form: str, backend: str, side: str) -> None:
    """A text padded within a batch has the weights it has alone (positions given, as a decoder needs them)."""
    model = make(form, backend)
    ids, mask = words(), torch.ones(3, TOKENS, dtype=torch.long)
    padding = slice(0, 4) if side == "left" else slice(TOKENS - 4, TOKENS)
    mask[1, padding] = 0
    real = mask[1].bool()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    takes_positions = form != "ALiBi"
    batch = {"input_ids": ids, "attention_mask": mask} | ({"position_ids": positions} if takes_positions else {})
    together = weights_of(model, batch, valid=mask.bool())
    alone = weights_of(model, {"input_ids": ids[1:2, real], "attention_mask": torch.ones(1, int(real.sum()))})
    for name, weights in together.items():
        inner = full(weights, 1)[:, real]
        torch.testing.assert_close(inner[..., real], full(alone[name]), rtol=1e-4, atol=1e-5)
        assert float(inner[..., ~real].abs().max()) == 0
        torch.testing.assert_close(
            full(weights.select(1, *[run_of(real)] * 2)), full(alone[name]), rtol=1e-4, atol=1e-5
        )


def run_of(real: Tensor) -> slice:
    places = real.nonzero()[:, 0]
    return slice(int(places[0]), int(places[-1]) + 1)


@every_text
def test_a_text_has_the_same_weights_alone_and_in_a_batch(form: str) -> None:
    model, inputs = make(form), inputs_of(form)
    together = weights_of(model, inputs)
    for text in range(3):
        alone = weights_of(model, {name: value[text : text + 1] for name, value in inputs.items()})
        for name, weights in together.items():
            torch.testing.assert_close(full(weights, text), full(alone[name]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", DECODERS)
def test_steps_with_a_cache_give_the_rows_of_the_whole(form: str) -> None:
    build = BloomForCausalLM if form == "ALiBi" else None  # whose base model does not say that it is causal
    model, ids = make(form, build=build), words()
    whole = weights_of(model, {"input_ids": ids})
    with torch.no_grad():
        past = model(input_ids=ids[:, :7], use_cache=True).past_key_values
    for position in range(7, TOKENS):
        steps = weights_of(model, {"input_ids": ids[:, position : position + 1], "past_key_values": past})
        assert list(steps) == list(whole)
        for name, weights in steps.items():
            row = full(weights, 2)[:, 0]
            expected = full(whole[name], 2)[:, position, : position + 1]
            # A windowed cache has forgotten the oldest keys, which have no weight any more.
            torch.testing.assert_close(row, expected[:, -row.shape[-1] :], rtol=1e-4, atol=1e-5)
            assert float(expected[:, : expected.shape[-1] - row.shape[-1]].sum()) < 1e-6


@pytest.mark.parametrize("form", ["position bias and cross-attention", "cross-attention"])
def test_a_padded_source_and_target_of_two_stacks(form: str) -> None:
    model, inputs = make(form, "sdpa"), inputs_of(form)
    inputs["attention_mask"][1, -4:] = 0
    inputs["decoder_attention_mask"] = torch.ones(3, TARGETS, dtype=torch.long)
    inputs["decoder_attention_mask"][1, -2:] = 0
    together = weights_of(model, inputs, valid=inputs["attention_mask"].bool())
    alone = weights_of(
        model, {"input_ids": inputs["input_ids"][1:2, :-4], "decoder_input_ids": inputs["decoder_input_ids"][1:2, :-2]}
    )
    for name, weights in together.items():
        cut = weights.select(1, slice(0, alone[name].queries), slice(0, alone[name].keys))
        torch.testing.assert_close(full(cut), full(alone[name]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = make("grouped queries", "sdpa").to(dtype)
    proof = verify_model(model, inputs_of("grouped queries"))
    assert proof.identical
    assert proof.deviation < (1e-12 if dtype == torch.float64 else 2e-2)
    expected = make("grouped queries").to(dtype)(**inputs_of("grouped queries"), output_attentions=True).attentions
    double = dtype == torch.float64
    slack = 1e-6 if double else 2e-2  # the model's own softmax is in float32
    for weights, part in zip(weights_of(model, inputs_of("grouped queries")).values(), expected, strict=True):
        assert full(weights).dtype == (torch.float64 if double else torch.float32)
        torch.testing.assert_close(full(weights).double(), part[0].double(), rtol=0, atol=slack)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch about itself, while it compiles
def test_flex_attention() -> None:
    model = make("sliding window", "flex_attention")
    inputs = inputs_of("sliding window")
    inputs["attention_mask"][1, :3] = 0
    valid = inputs["attention_mask"].bool()
    assert verify_model(model, inputs, valid=valid).identical
    expected = weights_of(make("sliding window"), inputs, valid)
    for name, weights in weights_of(model, inputs, valid).items():
        torch.testing.assert_close(full(weights, 1)[:, 3:], full(expected[name], 1)[:, 3:], rtol=1e-4, atol=1e-5)


def test_what_is_kept_does_not_follow_later_changes_of_the_model() -> None:
    """The cache of a step is written to by the next one; a record must not change with it."""
    model, ids = make("grouped queries"), words()
    with torch.no_grad():
        past = model(input_ids=ids[:, :7], use_cache=True).past_key_values
    step = weights_of(model, {"input_ids": ids[:, 7:8], "past_key_values": past})
    before = {name: full(weights).clone() for name, weights in step.items()}
    with torch.no_grad():
        model(input_ids=ids[:, 8:9], past_key_values=past)
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(full(step[name]), kept) for name, kept in before.items())


def test_listening_twice_and_to_a_copy_gives_the_same() -> None:
    model, inputs = make("sinks"), inputs_of("sinks")
    first = weights_of(model, inputs)
    for other in (weights_of(model, inputs), weights_of(copy.deepcopy(model), inputs)):
        assert all(torch.equal(full(first[name]), full(weights)) for name, weights in other.items())
    assert same_bits(run_alone(model, inputs), run_alone(copy.deepcopy(model), inputs))
