"""A model that was asked for its hidden states is sent to another process."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from attention_analyzer.hooks.pickling import picklable_copy
from tests.hooks.small import inputs_of, make


def plus_one(module: Any, args: Any, output: Any) -> Any:
    return (output[0] + 1, *output[1:]) if isinstance(output, tuple) else output + 1


@pytest.mark.parametrize("family", ["encoder", "grouped queries"])
def test_hooks_of_transformers_stay_behind_and_others_go_along(family: str) -> None:
    model, inputs = make(family), inputs_of(family)
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True).hidden_states
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(model)
    hooks = {name: list(module._forward_hooks) for name, module in model.named_modules()}
    sent = pickle.loads(pickle.dumps(picklable_copy(model)))
    assert {name: list(module._forward_hooks) for name, module in model.named_modules()} == hooks
    assert all(a is not b and torch.equal(a, b) for a, b in zip(model.parameters(), sent.parameters(), strict=True))
    with torch.no_grad():
        found = sent(**inputs, output_hidden_states=True).hidden_states
    assert len(found) == len(expected) and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    norms = [module for name, module in model.named_modules() if name.lower().endswith("norm")]
    norms[-1].register_forward_hook(plus_one)
    with torch.no_grad():
        changed = model(**inputs)[0]
        assert torch.equal(pickle.loads(pickle.dumps(picklable_copy(model)))(**inputs)[0], changed)
    assert not torch.equal(changed, expected[-1])


def test_shared_modules_stay_shared() -> None:
    shared = torch.nn.Linear(3, 3)
    bare = picklable_copy(torch.nn.Sequential(shared, torch.nn.Tanh(), shared))
    assert bare[0] is bare[2]
    assert bare[0].weight is shared.weight
