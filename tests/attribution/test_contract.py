"""What holds for every method on every form of attention."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from attention_analyzer.attribution import ATTRIBUTIONS
from attention_analyzer.attribution.context import Question
from attention_analyzer.attribution.integrated import IntegratedGradients
from attention_analyzer.attribution.method import Attribution
from attention_analyzer.attribution.target import VocabularyTarget
from tests.attribution.cases import FORMS, question
from tests.hooks.small import EAGER_ONLY

NAMES = [method.name for method in ATTRIBUTIONS]
#: Few steps are enough for what is asked here.
QUICK = [IntegratedGradients(steps=4) if method.name == "integrated_gradients" else method for method in ATTRIBUTIONS]
every_method = pytest.mark.parametrize("method", QUICK, ids=NAMES)


@cache
def shared(form: str) -> Question:
    """One question for all methods, which is how a comparison asks."""
    return question(form, "eager" if form in EAGER_ONLY else "sdpa")


def test_names_are_unique_and_definitions_are_written() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for method in ATTRIBUTIONS:
        assert type(method).__doc__, method.name
        assert method.title


@pytest.mark.parametrize("form", FORMS)
@every_method
def test_every_token_has_a_number_and_the_model_stays_as_it_was(method: Attribution, form: str) -> None:
    asked = shared(form)
    model = asked.loaded.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    raw = method.find(asked).raw
    assert raw.shape == (len(asked.tokens),)
    assert raw.dtype == torch.float64
    assert raw.device.type == "cpu"
    assert bool(torch.isfinite(raw).all())
    assert method.signed or float(raw.min()) >= 0
    assert float(raw.abs().sum()) > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(
        module._forward_pre_hooks or module._forward_hooks for module in model.modules() if module is not model
    )


@every_method
def test_a_causal_prediction_owes_nothing_to_what_comes_later(method: Attribution) -> None:
    raw = method.find(question("grouped queries", target=VocabularyTarget("an entry", 3, 17))).raw
    if method.name in ("received", "norm"):  # these describe the whole text, wherever the prediction is read
        assert float(raw[4:].abs().min()) > 0
    else:
        assert float(raw[4:].abs().max()) == 0
        assert float(raw[:4].abs().min()) > 0


@every_method
def test_frozen_models_say_the_same(method: Attribution) -> None:
    frozen = question("encoder", "sdpa")
    frozen.loaded.model.requires_grad_(False)
    torch.testing.assert_close(method.find(frozen).raw, method.find(shared("encoder")).raw, rtol=1e-5, atol=1e-9)


@every_method
def test_backends_say_the_same(method: Attribution) -> None:
    found = [method.find(question("grouped queries", backend)).raw for backend in ("eager", "sdpa")]
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-6)
