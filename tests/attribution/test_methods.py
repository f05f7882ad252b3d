"""Each method against its definition written out with whole matrices."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch
from torch import nn

from attention_analyzer.attribution import attribution_named
from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.flow import Flow, most_flow, network
from attention_analyzer.attribution.projection import written_norms
from attention_analyzer.attribution.target import SequenceTarget, VocabularyTarget
from attention_analyzer.errors import MissingDependencyError, TooLongError, UnsupportedModelError
from tests.attribution.cases import CAUSAL, FORMS, TWO_STACKS, dense, question
from tests.hooks.small import EAGER_ONLY, make

ONE_STACK = [form for form in FORMS if form not in TWO_STACKS]
MIDDLE = SequenceTarget("the text", (1, 3), (20, 21))


def found(name: str, asked: Question) -> torch.Tensor:
    return attribution_named(name).find(asked).raw


def shares(values: torch.Tensor) -> torch.Tensor:
    return values / values.sum()


def product(asked: Question, layer, start: torch.Tensor) -> torch.Tensor:
    """A rollout the plain way: one matrix a layer, all of them multiplied, then the rows that are wanted."""
    whole = torch.eye(len(asked.tokens), dtype=torch.double)
    for weights in dense(asked):
        whole = layer(weights.mean(0)) @ whole
    return start.double() @ whole


def half(weights: torch.Tensor) -> torch.Tensor:
    return weights / 2 + torch.eye(len(weights), dtype=torch.double) / 2


@pytest.mark.parametrize("form", ONE_STACK)
@pytest.mark.parametrize("target", [None, MIDDLE], ids=["one row", "two rows"])
def test_rollout_is_the_product_of_all_layers(form: str, target: SequenceTarget | None) -> None:
    asked = question(form, target=target)
    expected = product(asked, half, asked.start)
    torch.testing.assert_close(found("rollout_unadjusted", asked), expected, rtol=1e-4, atol=1e-7)
    doubled = product(asked, lambda mean: mean + torch.eye(len(mean)).double(), asked.start)
    torch.testing.assert_close(found("rollout_chefer", asked), doubled, rtol=1e-4, atol=1e-6)

    def rows_to_one(mean: torch.Tensor) -> torch.Tensor:
        both = mean + torch.eye(len(mean)).double()
        return both / both.sum(-1, keepdim=True)

    normalized = product(asked, rows_to_one, asked.start)
    torch.testing.assert_close(found("rollout_normalized", asked), normalized, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", ["encoder", "grouped queries", "sliding window"])
def test_without_sinks_all_rollouts_of_one_stack_give_the_same_shares(form: str) -> None:
    asked = question(form)
    names = ("rollout_unadjusted", "rollout_normalized", "rollout_chefer")
    first, *others = (shares(found(name, asked)) for name in names)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-6)
    if form == "encoder":
        torch.testing.assert_close(found("rollout", asked), found("rollout_unadjusted", asked))


def test_a_sink_makes_rollouts_differ() -> None:
    asked = question("sinks")
    plain, normalized = (shares(found(name, asked)) for name in ("rollout_unadjusted", "rollout_normalized"))
    assert float((plain - normalized).abs().max()) > 0.005


@pytest.mark.parametrize("form", ["grouped queries", "sliding window"])
def test_a_causal_model_that_looks_at_all_alike_has_no_favorite_token(form: str) -> None:
    """The receptive field is what is divided out; without that the first tokens win."""
    asked = question(form)
    with torch.no_grad():
        for name, parameter in asked.loaded.model.named_parameters():
            if "q_proj" in name:
                parameter.zero_()
    adjusted, plain = found("rollout", asked), found("rollout_unadjusted", asked)
    reached = plain > 0
    torch.testing.assert_close(adjusted[reached], torch.ones_like(adjusted[reached]), rtol=1e-4, atol=1e-6)
    others = plain[reached][:-1]  # the last one has its own residual
    assert float(others.max() / others.min()) > 1.5


@pytest.mark.parametrize("form", CAUSAL)
def test_the_receptive_field_is_the_rollout_of_uniform_weights(form: str) -> None:
    asked = question(form)
    expected = torch.eye(7, dtype=torch.double)
    for at in asked.sites:
        sees = at.weights.visibility.seen(slice(0, 7), slice(0, 7), slice(None), torch.device("cpu"))[0, 0].double()
        expected = half(sees / sees.sum(-1, keepdim=True)) @ expected
    wanted = found("rollout_unadjusted", asked) / (asked.start.double() @ expected)
    torch.testing.assert_close(found("rollout", asked), wanted, rtol=1e-4, atol=1e-6)


def two_stacks(asked: Question) -> torch.Tensor:
    """A rollout over both stacks as one matrix over source and target tokens."""
    source, target = len(asked.tokens), len(asked.prepared.target[0])
    whole = torch.eye(source + target, dtype=torch.double)
    for at, weights in zip(asked.sites, dense(asked), strict=True):
        rows = slice(0, source) if at.queries == "source" else slice(source, None)
        columns = slice(0, source) if at.keys == "source" else slice(source, None)
        step = torch.eye(source + target, dtype=torch.double)
        step[rows] *= 0.5
        step[rows, columns] += weights.mean(0) / 2
        whole = step @ whole
    return asked.start.double() @ whole[source:]


@pytest.mark.parametrize("form", TWO_STACKS)
def test_rollout_crosses_from_the_target_to_the_source(form: str) -> None:
    asked = question(form)
    both = two_stacks(asked)
    result = attribution_named("rollout").find(asked)
    torch.testing.assert_close(result.raw, both[:7], rtol=1e-4, atol=1e-7)
    assert result.notes["share_on_target"] == pytest.approx(float(both[7:].sum()), rel=1e-4)


def test_last_layer_is_the_row_of_the_prediction() -> None:
    asked = question("encoder", target=VocabularyTarget("an entry", 2, 17))
    torch.testing.assert_close(found("last_layer", asked), dense(asked)[-1].mean(0)[2], rtol=1e-4, atol=1e-7)
    asked = question("cross-attention")
    assert attribution_named("last_layer").find(asked).notes["site"] == "decoder.cross.1"


def chefer(asked: Question) -> torch.Tensor:
    """Gradient × attention from whole matrices that the model hands over and autograd differentiates."""
    outputs = asked.loaded.model(**asked.inputs, output_attentions=True)
    handed = list(outputs.attentions) if "attentions" in outputs else list(outputs.encoder_attentions)
    if "decoder_attentions" in outputs:
        for pair in zip(outputs.decoder_attentions, outputs.cross_attentions, strict=True):
            handed += pair
    value = asked.target.values(outputs, asked.whole).sum()
    gradients = torch.autograd.grad(value, handed)
    source = len(asked.tokens)
    size = source + (0 if asked.prepared.target is None else len(asked.prepared.target[0]))
    whole = torch.eye(size, dtype=torch.double)
    for at, weights, gradient in zip(asked.sites, handed, gradients, strict=True):
        rows = slice(0, source) if at.queries == "source" else slice(source, None)
        columns = slice(0, source) if at.keys == "source" else slice(source, None)
        step = torch.eye(size, dtype=torch.double)
        step[rows, columns] += (weights[0] * gradient[0]).clamp(min=0).double().mean(0)
        whole = step @ whole
    read = whole[:source] if asked.prepared.target is None else whole[source:]
    result = (asked.start.double() @ read)[:source]
    return result - asked.start.double() if asked.prepared.target is None else result


@pytest.mark.parametrize("form", [form for form in FORMS if form != "sinks"])
def test_gradient_attention_is_exact_under_the_models_own_backend(form: str) -> None:
    expected = chefer(question(form)).detach()
    for backend in ("eager",) if form in EAGER_ONLY else ("eager", "sdpa"):
        raw = found("gradient_attention", question(form, backend))
        torch.testing.assert_close(raw, expected, rtol=2e-3, atol=1e-7)


def linear_maps(model: nn.Module) -> list[torch.Tensor]:
    """Each layer's output projection ``[head · channel, out]``, by the names that three families give it."""
    maps = []
    for name, module in model.named_modules():
        if name.endswith(("attention.output.dense", "self_attn.o_proj")):
            maps.append(module.weight.detach().T)
        elif name.endswith("attn.c_proj"):
            maps.append(module.weight.detach())
    return maps


@pytest.mark.parametrize("form", ["encoder", "grouped queries", "learned positions"])
def test_norms_are_those_of_values_through_the_output_projection(form: str) -> None:
    asked = question(form, "sdpa")
    heard = written_norms(asked.loaded, asked.prepared)
    maps = linear_maps(asked.loaded.model)
    assert len(maps) == len(heard)
    for (_, call, norms), projection in zip(heard, maps, strict=True):
        values = call.values_by_head
        channels = values.shape[-1]
        assert norms.shape == (6, 7)
        for head, token in itertools.product(range(6), range(7)):
            part = projection[head * channels : (head + 1) * channels]
            assert float(norms[head, token]) == pytest.approx(float((values[head, token] @ part).norm()), rel=1e-4)


def test_norm_weighted_attention_is_summed_by_layer() -> None:
    asked = question("encoder")
    expected = []
    for (_, _, norms), weights in zip(written_norms(asked.loaded, asked.prepared), dense(asked), strict=True):
        layer = (weights * norms[:, None].double()).sum((0, 1))
        expected.append(layer / layer.sum())
    torch.testing.assert_close(found("norm", asked), torch.stack(expected).mean(0), rtol=1e-4, atol=1e-7)


class Gated(nn.Module):
    """Stands before an output projection and bends what passes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner(hidden * hidden.sigmoid())


def test_what_is_not_linear_is_refused() -> None:
    asked = question("grouped queries")
    attention = asked.loaded.model.model.layers[1].self_attn
    attention.o_proj = Gated(attention.o_proj)
    with pytest.raises(UnsupportedModelError, match="no linear map"):
        found("norm", asked)
    assert float(found("gradient_attention", asked).sum()) > 0


def test_weights_alone_are_enough_where_values_are_not_seen() -> None:
    from transformers import AutoModelForCausalLM

    from attention_analyzer.models.loaded import LoadedModel

    model = make("ALiBi", build=AutoModelForCausalLM.from_config)
    asked = question("grouped queries")
    asked = Question(LoadedModel(model, None, "bloom"), asked.prepared, asked.target)
    for name in ("received", "last_layer", "rollout", "flow"):
        assert float(found(name, asked).sum()) > 0
    for name in ("norm", "gradient_attention"):
        with pytest.raises(UnsupportedModelError, match="outside transformers' attention interface"):
            found(name, asked)


def by_networkx(asked: Question) -> list[float]:
    """The same graph, node by node, and the reference library's flow."""
    import networkx as nx

    graph = nx.DiGraph()
    level = {"source": 0, "target": 0}
    for at, weights in zip(asked.sites, dense(asked), strict=True):
        mean, above = weights.mean(0), level[at.queries] + 1
        for i, j in itertools.product(range(mean.shape[0]), range(mean.shape[1])):
            if at.queries != at.keys:
                graph.add_edge((at.queries, above, i), (at.keys, level[at.keys], j), capacity=float(mean[i, j]) / 2)
            else:
                own = 0.5 if i == j else 0.0
                graph.add_edge((at.queries, above, i), (at.keys, above - 1, j), capacity=float(mean[i, j]) / 2 + own)
            if at.queries != at.keys:
                graph.add_edge((at.queries, above, i), (at.queries, above - 1, i), capacity=0.5)
        level[at.queries] = above
    for i, share in enumerate(asked.start.tolist()):
        if share:
            graph.add_edge("prediction", (asked.last_axis, level[asked.last_axis], i), capacity=share)
    tokens = range(len(asked.tokens))
    return [nx.maximum_flow_value(graph, "prediction", ("source", 0, token)) for token in tokens]


@pytest.mark.parametrize("form", ["encoder", "grouped queries", "sinks", "cross-attention"])
@pytest.mark.parametrize("spread", [False, True], ids=["one row", "two rows"])
def test_flow_equals_networkx(form: str, spread: bool) -> None:
    target = SequenceTarget("the text", (1, 3), (20, 21), moves=form not in TWO_STACKS) if spread else None
    asked = question(form, target=target, tokens=5)
    np.testing.assert_allclose(found("flow", asked).numpy(), by_networkx(asked), rtol=1e-6, atol=1e-9)


def test_flow_has_a_limit_that_is_said() -> None:
    asked = question("encoder")
    with pytest.raises(TooLongError, match=r"98 edges, more than the limit of 97; use method='rollout'"):
        Flow(most_edges=97).find(asked)
    assert float(Flow(most_edges=98).find(asked).raw.sum()) > 0


@pytest.mark.parametrize(("method", "package"), [("flow", "igraph"), ("integrated_gradients", "captum.attr")])
def test_a_package_that_is_missing_is_named(method: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'attention-analyzer\[(graphs|attribution)\]'"):
        found(method, question("encoder"))


def test_progress_is_told_token_by_token() -> None:
    asked = question("encoder")
    told = []

    def watched(tokens):
        for token in tokens:
            told.append(token)
            yield token

    most_flow(network(asked.sites, asked.start, asked.last_axis), watched)
    assert len(told) == 7


def test_integrated_gradients_sum_to_the_difference_from_a_blank_text() -> None:
    from attention_analyzer import AttentionAnalyzer
    from attention_analyzer.attribution.context import ask

    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    asked = ask(analyzer.loaded, "The dog [MASK] at the cat.")
    result = attribution_named("integrated_gradients").find(asked)
    assert float(result.raw.sum()) == pytest.approx(result.notes["difference_to_blank_text"], rel=1e-2)
    special = torch.tensor(asked.tokens.is_special)
    assert float(result.raw[special].abs().max()) == 0
    ids = asked.inputs["input_ids"].clone()
    ids[0, ~special] = analyzer.tokenizer.mask_token_id
    with torch.no_grad():
        text, blank = (
            analyzer.model(input_ids=given).logits[0, asked.target.at, asked.target.entry]
            for given in (asked.inputs["input_ids"], ids)
        )
    assert result.notes["difference_to_blank_text"] == pytest.approx(float(text - blank), rel=1e-3)


def test_a_model_that_treats_embeddings_unlike_their_tokens_is_refused() -> None:
    from attention_analyzer import AttentionAnalyzer
    from attention_analyzer.attribution.context import ask

    analyzer = AttentionAnalyzer("demo-encoder", cache=False)
    asked = ask(analyzer.loaded, "The dog [MASK] at the cat.")

    def doubled(module, args, given):
        if given.get("inputs_embeds") is not None:
            given = {**given, "inputs_embeds": given["inputs_embeds"] * 2}
        return args, given

    changed = analyzer.model.register_forward_pre_hook(doubled, with_kwargs=True)
    with changed, pytest.raises(UnsupportedModelError, match="a path through them does not lead to the text"):
        attribution_named("integrated_gradients").find(asked)

    def refusing(module, args, given):
        if given.get("inputs_embeds") is not None:
            raise TypeError("no inputs_embeds here")

    changed = analyzer.model.register_forward_pre_hook(refusing, with_kwargs=True)
    with changed, pytest.raises(UnsupportedModelError, match="takes no embeddings in place of tokens"):
        attribution_named("integrated_gradients").find(asked)
