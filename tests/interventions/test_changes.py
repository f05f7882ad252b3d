"""What is changed is exactly what was asked, for every form of attention and backend; all else stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_analyzer.errors import CaptureError, InputError, UnsupportedModelError
from attention_analyzer.hooks.verification import run_alone, same_bits
from attention_analyzer.interventions import edits
from attention_analyzer.interventions.apply import run_altered
from attention_analyzer.interventions.call_index import CallIndex, observe
from attention_analyzer.interventions.means import MeanOutputs
from attention_analyzer.interventions.plan import Request, plan_of
from attention_analyzer.models.loaded import LoadedModel
from tests.hooks.small import BACKENDS, TOKENS, inputs_of, make
from tests.interventions.reference import Outputs, hiding, state, tapped, without_scores

TAPPED = [pair for pair in BACKENDS if pair[0] != "ALiBi"]
every_form = pytest.mark.parametrize(("form", "backend"), TAPPED)
#: Modules are told apart by name; in ALBERT one is every layer.
APART = pytest.mark.parametrize(("form", "backend"), [pair for pair in TAPPED if pair[0] != "shared layers"])
HEAD = 4
OTHERS = [head for head in range(6) if head != HEAD]


def padded(form: str) -> tuple[dict[str, Any], Tensor]:
    """Inputs whose second text is shorter, where the form has padding."""
    inputs = inputs_of(form)
    if "attention_mask" not in inputs:
        return inputs, torch.ones(3, 10, dtype=torch.bool)
    inputs["attention_mask"][1, -4:] = 0
    return inputs, inputs["attention_mask"].bool()


def altered(model: nn.Module, inputs: dict[str, Any], **asked: Any) -> Any:
    loaded = LoadedModel(model)
    order, _ = observe(loaded, inputs)
    return run_altered(loaded, inputs, order, plan_of(Request.of(**asked), order, loaded, None))


def order_of(model: nn.Module, inputs: dict[str, Any]) -> CallIndex:
    return observe(LoadedModel(model), inputs)[0]


def outputs_at(model: nn.Module, inputs: dict[str, Any], run: Any) -> dict[str, Tensor]:
    """Every attention module's output under ``run``; the outer tap hears what the inner one has changed."""
    found: dict[str, Tensor] = {}
    with tapped(model, Outputs(found)):
        run()
    return found


def main(outputs: Any) -> Tensor:
    return next(iter(outputs.values()))


@every_form
def test_no_change_is_the_same_bits_and_nothing_is_left(form: str, backend: str) -> None:
    model = make(form, backend)
    inputs, _ = padded(form)
    plain = run_alone(model, inputs)
    before = state(model)
    assert same_bits(plain, altered(model, inputs))
    altered(model, inputs, ablate="L0H1", knock_out="L1H2:*>0", patch={"L0H3": "uniform"})
    assert state(model) == before
    assert same_bits(plain, run_alone(model, inputs))


@pytest.mark.parametrize(
    ("form", "backend", "kind"),
    [(form, backend, kind) for form, backend in TAPPED for kind in ("self", "cross")
     if form != "shared layers" and (kind == "self" or "cross" in form)],
)  # fmt: skip
def test_knocked_out_edges_are_as_if_masked(form: str, backend: str, kind: str) -> None:
    model = make(form, backend)
    inputs, valid = padded(form)
    order = order_of(model, inputs)
    site = [site for site in order.sites if site.kind == kind][-1]
    queries, keys = order.shapes[site.name]
    cells = torch.zeros(queries, keys, dtype=torch.bool)
    cells[2:5, 1] = True
    cells[queries - 1, 3:5] = True
    place = f"{site.stack}.{site.kind}.L{site.layer}H{HEAD}"
    asked = [f"{place}:2-4>1", f"{place}:last>3,4"]
    with tapped(model, hiding(site.module, HEAD, cells)):
        expected = outputs_at(model, inputs, lambda: run_alone(model, inputs))[site.module]
    found = outputs_at(model, inputs, lambda: altered(model, inputs, knock_out=asked))[site.module]
    plain = outputs_at(model, inputs, lambda: run_alone(model, inputs))[site.module]
    real = valid if valid.shape[1] == queries else torch.ones(3, queries, dtype=torch.bool)
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)
    assert torch.equal(found[:, :, OTHERS], plain[:, :, OTHERS])
    untouched = ~cells.any(-1)
    assert torch.equal(found[:, untouched], plain[:, untouched])
    assert not torch.allclose(found[real], plain[real], atol=1e-4)


@APART
def test_a_query_with_nothing_left_gets_nothing(form: str, backend: str) -> None:
    model = make(form, backend)
    inputs, _ = padded(form)
    site = next(site for site in order_of(model, inputs).sites if site.layer == 1)
    found = outputs_at(model, inputs, lambda: altered(model, inputs, knock_out="L1H4:3>*"))[site.module]
    plain = outputs_at(model, inputs, lambda: run_alone(model, inputs))[site.module]
    assert not found[:, 3, HEAD].any()
    assert plain[:, 3, HEAD].abs().min() > 0
    rest = [query for query in range(plain.shape[1]) if query != 3]
    assert torch.equal(found[:, rest], plain[:, rest])


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_an_edge_that_no_query_sees_changes_no_bit(backend: str) -> None:
    model, inputs = make("grouped queries", backend), inputs_of("grouped queries")
    assert same_bits(run_alone(model, inputs), altered(model, inputs, knock_out="L0-1:0-4>5-10"))


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_ablation_is_an_output_projection_without_the_head(backend: str) -> None:
    model, inputs = make("grouped queries", backend), padded("grouped queries")[0]
    found = altered(model, inputs, ablate=["L0H4", (1, 2)])
    with torch.no_grad():
        for layer, head in ((0, 4), (1, 2)):
            model.layers[layer].self_attn.o_proj.weight[:, head * 8 : head * 8 + 8] = 0  # type: ignore[union-attr,index]
    torch.testing.assert_close(main(found), main(run_alone(model, inputs)), rtol=1e-5, atol=1e-6)


@APART
def test_a_ablated_head_gives_zero_and_the_others_their_own(form: str, backend: str) -> None:
    model = make(form, backend)
    inputs, _ = padded(form)
    site = order_of(model, inputs).sites[0]
    found = outputs_at(model, inputs, lambda: altered(model, inputs, ablate="L0H4"))[site.module]
    plain = outputs_at(model, inputs, lambda: run_alone(model, inputs))[site.module]
    assert not found[:, :, HEAD].any()
    assert torch.equal(found[:, :, OTHERS], plain[:, :, OTHERS])


#: A sink or a bias stays where queries are zero.
PLAIN = [pair for pair in TAPPED if pair[0] not in ("sinks", "position bias and cross-attention", "shared layers")]


@pytest.mark.parametrize(("form", "backend"), PLAIN)
def test_a_uniform_head_is_one_whose_scores_are_equal(form: str, backend: str) -> None:
    model = make(form, backend)
    inputs, valid = padded(form)
    site = order_of(model, inputs).sites[-1]
    place = f"{site.stack}.{site.kind}.L{site.layer}H{HEAD}"
    with tapped(model, without_scores(site.module, HEAD)):
        expected = outputs_at(model, inputs, lambda: run_alone(model, inputs))[site.module]
    found = outputs_at(model, inputs, lambda: altered(model, inputs, patch={place: "uniform"}))[site.module]
    real = valid if valid.shape[1] == found.shape[1] else slice(None)
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["encoder", "grouped queries", "sliding window", "sinks"])
def test_the_first_key_is_the_first_that_is_seen(form: str) -> None:
    model, inputs = make(form), inputs_of(form)
    site = order_of(model, inputs).sites[1 if form == "sliding window" else 0]
    values: dict[str, Tensor] = {}

    class Values(Outputs):
        def after(self, call: Any, output: Tensor) -> Tensor:
            values[call.name] = call.value
            return super().after(call, output)

    kept: dict[str, Tensor] = {}
    with tapped(model, Values(kept)):
        altered(model, inputs, patch={f"L{site.layer}H4": "first"})
    window = 4 if form in ("sliding window", "sinks") else TOKENS
    group = 6 // values[site.module].shape[1]
    for query in range(TOKENS):
        first = max(0, query - window + 1)
        expected = values[site.module][:, 4 // group, first]
        torch.testing.assert_close(kept[site.module][:, query, 4], expected)


def test_a_head_s_own_pattern_changes_nothing_and_another_s_does() -> None:
    model = make("grouped queries", "sdpa")
    inputs = {name: value[:1] for name, value in inputs_of("grouped queries").items()}
    from attention_analyzer.recording import record_inputs

    (own,) = record_inputs(LoadedModel(model), inputs)
    plain = main(run_alone(model, inputs))
    torch.testing.assert_close(main(altered(model, inputs, patch={"L0": own, "L1H2": own})), plain)
    (other,) = record_inputs(
        LoadedModel(model), {name: value[1:2] for name, value in inputs_of("grouped queries").items()}
    )
    assert not torch.allclose(main(altered(model, inputs, patch={"L0": other})), plain, atol=1e-3)
    by_hand = own.weights(0, 3)
    torch.testing.assert_close(main(altered(model, inputs, patch={"L0H3": by_hand})), plain)
    with pytest.raises(InputError, match="cannot see this key"):
        altered(model, inputs, patch={"L0H3": torch.full((TOKENS, TOKENS), 1 / TOKENS)})
    (shorter,) = record_inputs(LoadedModel(model), {name: value[:1, :7] for name, value in inputs.items()})
    with pytest.raises(InputError, match="same length"):
        altered(model, inputs, patch={"L0H3": shorter})


def test_the_mean_is_over_the_real_tokens_of_all_texts() -> None:
    model = make("grouped queries", "sdpa")
    inputs, valid = padded("grouped queries")
    loaded = LoadedModel(model)
    order, _ = observe(loaded, inputs)
    means = MeanOutputs()
    means.add(loaded, inputs, order, {site.name: valid for site in order.sites})
    plain = outputs_at(model, inputs, lambda: run_alone(model, inputs))
    site = order.sites[1]
    expected = plain[site.module].double()[valid][:, 4].mean(0)
    torch.testing.assert_close(means.of(site, 4), expected)
    plan = plan_of(Request.of(ablate="L1H4", ablation="mean"), order, loaded, means)
    found = outputs_at(model, inputs, lambda: run_altered(loaded, inputs, order, plan))
    torch.testing.assert_close(found[site.module][:, :, 4], expected.float().expand(3, TOKENS, -1))


def test_runs_of_rows_give_what_one_run_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"knock_out": ["L0:*>0,3", "L1H2:5-9>2"], "patch": {"L1H4": "uniform", "L1H0": "first"}}
    for form in ("grouped queries", "sinks", "encoder"):
        model, inputs = make(form), padded(form)[0]
        whole = main(altered(model, inputs, **asked))
        monkeypatch.setattr(edits, "_CELLS", 3 * TOKENS)
        torch.testing.assert_close(main(altered(model, inputs, **asked)), whole)
        monkeypatch.undo()


def test_low_precision_keeps_its_dtype() -> None:
    model = make("grouped queries", "sdpa").to(torch.bfloat16)
    inputs = inputs_of("grouped queries")
    found = main(altered(model, inputs, knock_out="L0:*>0", ablate="L1H0", patch={"L1H1": "uniform"}))
    double = make("grouped queries", "sdpa")
    exact = main(altered(double, inputs, knock_out="L0:*>0", ablate="L1H0", patch={"L1H1": "uniform"}))
    assert found.dtype == torch.bfloat16
    assert float((found.float() - exact).norm() / exact.norm()) < 0.05


@pytest.mark.filterwarnings("ignore:_compile flag:DeprecationWarning")  # of torch about itself
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")  # once per process, whoever is first
def test_flex_attention() -> None:
    asked: dict[str, Any] = {"knock_out": "L0H1:*>1", "ablate": "L0H2", "patch": {"L1H3": "uniform"}}
    inputs = inputs_of("sliding window")
    with torch.compiler.set_stance("force_eager"):  # compiling would take a minute
        found = main(altered(make("sliding window", "flex_attention"), inputs, **asked))
    torch.testing.assert_close(found, main(altered(make("sliding window"), inputs, **asked)), rtol=1e-4, atol=1e-5)


def test_attention_outside_the_interface_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="analyzed but not modified"):
        altered(make("ALiBi"), inputs_of("ALiBi"), ablate="L0H1")


def test_another_course_of_the_model_is_refused() -> None:
    model, inputs = make("grouped queries"), inputs_of("grouped queries")
    loaded = LoadedModel(model)
    order, _ = observe(loaded, inputs)
    model.layers = nn.ModuleList(reversed(list(model.layers)))  # type: ignore[arg-type]
    with pytest.raises(CaptureError, match="called in another order"):
        run_altered(loaded, inputs, order, plan_of(Request.of(ablate="L0H1"), order, loaded, None))


def test_a_head_has_one_change() -> None:
    with pytest.raises(InputError, match="L0H1 has conflicting interventions"):
        altered(make("encoder"), inputs_of("encoder"), ablate="L0H1", knock_out="L0:*>0")
