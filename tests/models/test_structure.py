"""The walk over a model's modules, against torch's own; modules that a forward exchanges."""

from __future__ import annotations

import torch
from torch import nn

from attention_analyzer.models.structure import ModulePaths, modules, named_modules, own_modules_kept


class Exchanging(nn.Module):
    """Puts a new layer in place of its own whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = "first"
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kind, self.inner[0] = "second", nn.Linear(2, 2)
        self.extra = nn.Linear(2, 2)
        return self.inner(x)


def shared() -> nn.Module:
    one = nn.Linear(2, 2)
    model = nn.ModuleDict(
        {"a": nn.Sequential(one, nn.ReLU()), "b": nn.ModuleList([one, nn.Sequential(nn.Tanh(), one)])}
    )
    model.none = None
    return model


def test_modules_in_the_order_and_with_the_names_of_torch() -> None:
    model = shared()
    assert named_modules(model) == list(model.named_modules())
    assert sorted(map(id, modules(model))) == sorted(map(id, model.modules()))
    assert modules(model)[0] is model


def test_exchanged_modules_are_met_and_put_back() -> None:
    model = nn.Sequential(Exchanging())
    before, paths = list(model.named_modules()), ModulePaths(model)
    assert not paths.meets(nn.Linear(2, 2))
    with own_modules_kept(model):
        model(torch.zeros(1, 2))
        new = model[0].inner[0]
        assert paths.meets(new)
        assert paths[id(new)] == "0.inner.0"
        assert paths.meets(model[0].extra)
    assert list(model.named_modules()) == before
    assert model[0].kind == "first"


def test_settings_that_change_without_modules_stay_changed() -> None:
    model = Exchanging()
    with own_modules_kept(model):
        model.kind = "chosen by the caller"
    assert model.kind == "chosen by the caller"
