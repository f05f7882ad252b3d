"""Patching against plain hooks on modules, its own activations bit for bit, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from attention_analyzer import AttentionAnalyzer, errors
from attention_analyzer.inputs import prepare
from attention_analyzer.mechanism.edited_runs import Edits, Runs, Slot
from tests.mechanism.test_effects import CONFIGS, SIZES, of_config

CLEAN = "Tom saw a red bird and a big dog. Sue saw a red"
CORRUPTED = "Tom saw a big bird and a red dog. Sue saw a red"
SLOTS: tuple[Slot, ...] = ("output", "query", "key", "value")


@pytest.fixture(scope="module")
def decoder() -> AttentionAnalyzer:
    return AttentionAnalyzer("demo-decoder", cache=False)


@pytest.mark.parametrize("name", ["demo-decoder", *(name for name in CONFIGS if "of its own" not in name)])
def test_a_run_patched_with_its_own_activations_is_the_same_bit_for_bit(name: str) -> None:
    analyzer = AttentionAnalyzer(name, cache=False) if name.startswith("demo") else of_config(CONFIGS[name])
    inputs = prepare(analyzer.loaded, [CLEAN]).inputs
    runs = Runs(analyzer.loaded, inputs)
    seen = runs.see(inputs)
    with torch.no_grad():
        plain = analyzer.model(**inputs, use_cache=False).logits
    assert torch.equal(seen.logits, plain)
    assert runs.layers
    assert runs.reuses
    for site in runs.sites:
        for slot in SLOTS:
            own = seen.slots[site.name, slot].clone()
            edits = Edits({(site.name, slot): lambda _, own=own: own})  # type: ignore[misc]
            assert torch.equal(runs.logits(inputs, edits, seen), plain)
    for path in runs.layers:
        own = seen.entering[path].clone()
        assert torch.equal(runs.logits(inputs, Edits(entering={path: lambda _, own=own: own}), seen), plain)  # type: ignore[misc]


def by_hooks(analyzer: AttentionAnalyzer, layer: int, part: slice, module: str) -> float:
    """The metric with a part of a projection's input or output taken from the clean run."""
    model: Any = analyzer.model
    place = model.model.layers[layer].self_attn.get_submodule(module)
    kept: dict[str, Tensor] = {}
    texts = [analyzer.tokenizer(text, return_tensors="pt")["input_ids"] for text in (CLEAN, CORRUPTED)]

    def change(tensor: Tensor) -> Tensor:
        if "clean" not in kept:
            kept["clean"] = tensor.clone()
            return tensor
        tensor = tensor.clone()
        tensor[..., part] = kept["clean"][..., part]
        return tensor

    if module == "o_proj":
        handle = place.register_forward_pre_hook(lambda _, given: (change(given[0]),))
    else:
        handle = place.register_forward_hook(lambda _, __, made: change(made))
    with torch.no_grad():
        model(texts[0])
        row = model(texts[1]).logits[0, -1]
    handle.remove()
    bird, dog = (analyzer.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("bird", "dog"))
    return float(row[bird] - row[dog])


@pytest.mark.parametrize(
    ("what", "module"), [("heads", "o_proj"), ("queries", "q_proj"), ("keys", "k_proj"), ("values", "v_proj")]
)
def test_heads_and_their_inputs_are_patched_as_by_hooks(decoder: AttentionAnalyzer, what: Any, module: str) -> None:
    result = decoder.patch(CLEAN, CORRUPTED, what=what, target="bird", versus="dog")
    width = decoder.model.config.head_dim
    assert len(result.table) == 5 * (3 if what in ("keys", "values") else 6)
    for layer, head in ((0, 2), (3, 1), (4, 0)):
        row = result.table.query("layer == @layer and head == @head").iloc[0]
        by_hand = by_hooks(decoder, layer, slice(head * width, (head + 1) * width), module)
        assert row["value"] == pytest.approx(by_hand, abs=1e-5)
        assert row["recovered"] == pytest.approx(
            (by_hand - result.corrupted) / (result.clean - result.corrupted), abs=1e-4
        )


def test_the_whole_first_residual_stream_is_the_clean_text(decoder: AttentionAnalyzer) -> None:
    """Only two positions differ, so patching what enters layer 0 elsewhere changes nothing."""
    result = decoder.patch(CLEAN, CORRUPTED, what="residual", target="bird", versus="dog")
    first = result.table[result.table["layer"] == 0].set_index("position")["recovered"]
    assert result.differ == tuple(first.index[first.abs() > 1e-6])
    last = result.table[result.table["layer"] == 4].set_index("position")["recovered"]
    assert (last[list(range(4))].abs() < 0.2).all()


def test_a_path_changes_nothing_but_the_receivers_inputs(decoder: AttentionAnalyzer) -> None:
    """The metric by hand: earlier heads held, the sender's output changed, the receiver's keys recomputed."""
    result = decoder.patch(CLEAN, CORRUPTED, what="keys", into="L1H4", target="bird", versus="dog")
    assert set(result.table["layer"]) == {0}
    model: Any = decoder.model
    width = model.config.head_dim
    ids = [decoder.tokenizer(text, return_tensors="pt")["input_ids"] for text in (CLEAN, CORRUPTED)]
    heads: list[Tensor] = []
    keys: list[Tensor] = []
    out, key = model.model.layers[0].self_attn.o_proj, model.model.layers[1].self_attn.k_proj
    with torch.no_grad():
        keeping = out.register_forward_pre_hook(lambda _, given: heads.append(given[0].clone()))
        model(ids[0])
        model(ids[1])
        keeping.remove()
        mixed = heads[1].clone()
        mixed[..., 3 * width : 4 * width] = heads[0][..., 3 * width : 4 * width]
        sending = out.register_forward_pre_hook(lambda *_: (mixed,))
        reading = key.register_forward_hook(lambda _, __, made: keys.append(made.clone()))
        model(ids[1])
        sending.remove()
        reading.remove()

        def receive(_: Any, __: Any, made: Tensor) -> Tensor:
            made = made.clone()
            made[..., 2 * width : 3 * width] = keys[0][..., 2 * width : 3 * width]
            return made

        receiving = key.register_forward_hook(receive)
        row = model(ids[1]).logits[0, -1]
        receiving.remove()
    bird, dog = (decoder.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("bird", "dog"))
    shown = result.table.set_index("component")["value"]["L0H3"]
    assert shown == pytest.approx(float(row[bird] - row[dog]), abs=1e-5)


def test_an_estimate_comes_with_its_error(decoder: AttentionAnalyzer) -> None:
    exact = decoder.patch(CLEAN, CORRUPTED, target="bird", versus="dog")
    result = decoder.patch(CLEAN, CORRUPTED, target="bird", versus="dog", approximate=True, sample=6)
    assert len(result.table) == 30
    assert result.table["recovered"].notna().sum() == 6
    both = result.table.dropna(subset=["recovered"]).set_index("component")["recovered"]
    for name, value in both.items():
        assert value == pytest.approx(exact.table.set_index("component")["recovered"][name], abs=1e-6)
    assert result.error is not None
    apart = (result.table["estimate"] - result.table["recovered"]).abs()
    assert result.error == pytest.approx((6, apart.mean(), apart.max()))
    assert "patched exactly: mean error" in repr(result)
    # In the last layer a head's output reaches the logits through norms alone, so the estimate is close.
    last = exact.table["layer"] == 4
    torch.testing.assert_close(
        torch.tensor(result.table.loc[last, "estimate"].to_numpy()),
        torch.tensor(exact.table.loc[last, "recovered"].to_numpy()),
        atol=0.3,
        rtol=0.2,
    )


def test_a_metric_of_ones_own_and_progress(decoder: AttentionAnalyzer) -> None:
    done: list[tuple[int, int]] = []

    def loss(logits: Tensor) -> Tensor:
        return logits.log_softmax(-1)[-1, 5]

    result = decoder.patch(CLEAN, CORRUPTED, loss, progress=lambda *step: done.append(step))
    assert result.metric == "loss"
    assert done[-1] == (30, 30)


def test_an_interrupt_leaves_no_hook(decoder: AttentionAnalyzer) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        decoder.patch(CLEAN, CORRUPTED, progress=interrupt)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in decoder.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in decoder.model.state_dict().items())


def test_an_encoder_decoder_is_patched() -> None:
    analyzer = AttentionAnalyzer("demo-translator", cache=False)
    result = analyzer.patch(("today is monday", "2024"), ("today is sunday", "2024"))
    assert {"encoder", "decoder"} == set(result.table["stack"])
    assert result.table["recovered"].abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((CLEAN, CLEAN + " bird"), {}, "has 15 tokens and the corrupted one 16; they first differ at position 15"),
        ((CLEAN, CLEAN), {}, "the same tokens"),
        ((CLEAN, CORRUPTED, lambda logits: logits), {}, "returns one number, but this one gave a tensor of shape"),
        ((CLEAN, CORRUPTED, lambda _: "a"), {}, "returns one number, but this one gave str"),
        ((CLEAN, CORRUPTED), {"what": "mlp"}, "what must be one of 'heads'"),
        ((CLEAN, CORRUPTED), {"into": "L4"}, "into=… names one head, but 'L4' names 6"),
        ((CLEAN, CORRUPTED), {"into": "L4H2", "what": "residual"}, "a path between heads"),
        ((CLEAN, CORRUPTED), {"approximate": True, "sample": 0}, "never shown without exact patches"),
    ],
)
def test_bad_input_is_one_sentence(
    decoder: AttentionAnalyzer, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InputError, match=message):
        decoder.patch(*arguments, **options)


def test_nan_and_a_missing_head_are_refused(decoder: AttentionAnalyzer) -> None:
    with pytest.raises(errors.CaptureError, match="The metric is NaN"):
        decoder.patch(CLEAN, CORRUPTED, lambda logits: logits[0, 0] * torch.nan)
    headless = of_config(transformers.LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, **SIZES
    ), "AutoModel")  # fmt: skip
    with pytest.raises(errors.UnsupportedModelError, match="has no language-model head"):
        headless.patch(CLEAN, CORRUPTED)


@pytest.mark.parametrize("layer", [0, 3])
def test_mlps_are_patched_as_by_hooks(decoder: AttentionAnalyzer, layer: int) -> None:
    result = decoder.patch(CLEAN, CORRUPTED, what="mlps", target="bird", versus="dog")
    assert len(result.table) == 5 * len(result.tokens)
    module = decoder.model.get_submodule(f"model.layers.{layer}.mlp")
    ids = [decoder.tokenizer(text, return_tensors="pt")["input_ids"] for text in (CLEAN, CORRUPTED)]
    kept: list[Tensor] = []
    keeping = module.register_forward_hook(lambda _, __, made: kept.append(made.clone()))
    with torch.no_grad():
        decoder.model(ids[0])
        keeping.remove()

        def change(_: Any, __: Any, made: Tensor) -> Tensor:
            made = made.clone()
            made[:, 14] = kept[0][:, 14]
            return made

        changing = module.register_forward_hook(change)
        row = decoder.model(ids[1]).logits[0, -1]
        changing.remove()
    bird, dog = (decoder.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("bird", "dog"))
    shown = result.table.query("layer == @layer and position == 14").iloc[0]
    assert shown["value"] == pytest.approx(float(row[bird] - row[dog]), abs=1e-5)
    assert shown["component"] == f"L{layer} MLP"


MLPS = {
    "learned positions, layer norm, biases": "transformer.h.1.mlp",
    "parallel blocks": "gpt_neox.layers.1.mlp",
    "latent attention, experts": "model.layers.1.mlp",
    "linear attention, gates": "model.layers.1.mlp",
}


@pytest.mark.parametrize("name", MLPS)
def test_the_module_that_an_mlp_writes_through_is_found(name: str) -> None:
    analyzer = of_config(CONFIGS[name])
    inputs = prepare(analyzer.loaded, [CLEAN]).inputs
    runs = Runs(analyzer.loaded, inputs)
    assert list(runs.mlps.values())[1] == MLPS[name]
    seen = runs.see(inputs)
    for layer, own in [(path, states.clone()) for path, states in seen.written.items()]:
        edits = Edits(written={layer: lambda _, own=own: own})  # type: ignore[misc]
        assert torch.equal(runs.logits(inputs, edits, seen), seen.logits)


def test_an_encoder_without_a_module_for_its_mlps_has_them_too() -> None:
    encoder = AttentionAnalyzer("demo-encoder", cache=False)
    runs = Runs(encoder.loaded, prepare(encoder.loaded, ["The cat [MASK]."]).inputs)
    assert next(iter(runs.mlps.values())) == "bert.encoder.layer.0.output.dense"
    result = encoder.patch("The cat [MASK] on the mat.", "The dog [MASK] on the mat.", what="mlps")
    assert len(result.table) == 6 * len(result.tokens)


def test_the_path_to_the_logits_leaves_later_heads_alone(decoder: AttentionAnalyzer) -> None:
    """In the last layer it is the whole effect; in the first, all later heads are held."""
    whole = decoder.patch(CLEAN, CORRUPTED, target="bird", versus="dog").table.set_index("component")
    direct = decoder.patch(CLEAN, CORRUPTED, into="logits", target="bird", versus="dog")
    table = direct.table.set_index("component")
    assert direct.into == "logits"
    last = [f"L4H{head}" for head in range(6)]
    np.testing.assert_allclose(table.loc[last, "value"], whole.loc[last, "value"], atol=1e-6)
    assert abs(table.loc["L0H3", "value"] - whole.loc["L0H3", "value"]) > 1e-3
    with pytest.raises(errors.InputError, match="follows what heads write"):
        decoder.patch(CLEAN, CORRUPTED, what="keys", into="logits")
    with pytest.raises(errors.InputError, match="is a path between heads"):
        decoder.patch(CLEAN, CORRUPTED, what="mlps", into="L4H2")
