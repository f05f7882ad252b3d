"""What is saved with a model is read without changing the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from attention_analyzer.models.fingerprint import fingerprint, state_mark
from attention_analyzer.models.offload import saved_values


class _Packed(nn.Linear):
    """As bitsandbytes packs 4-bit weights for some CPUs: saving them unpacks them in place, and not quite the same."""

    def __init__(self) -> None:
        super().__init__(3, 2, bias=False)
        self.weight.quant_state = SimpleNamespace(  # type: ignore[attr-defined]
            packing_format_for_cpu=True,
            absmax=torch.arange(2.0),
            state2=SimpleNamespace(absmax=torch.arange(3.0)),
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        with torch.no_grad():
            self.weight.mul_(1.01)
        super()._save_to_state_dict(destination, prefix, keep_vars)


def test_packed_weights_are_read_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(3, 3), _Packed())
    before = model[1].weight.clone()
    names = list(saved_values(model))
    assert names == ["0.weight", "0.bias", "1.weight", "1.weight.absmax", "1.weight.state2.absmax"]
    first = fingerprint(model), state_mark(model)
    assert (fingerprint(model), state_mark(model)) == first
    assert torch.equal(model[1].weight, before)
    model[1].weight.quant_state.absmax[1] += 1
    assert fingerprint(model) != first[0]


def test_other_models_are_read_as_they_are_saved() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    assert list(saved_values(model)) == list(model.state_dict())
