"""What a model's forward takes; read once per function, since reading it takes longer than a layer of a small model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import nn


def forward_parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    """The parameters of a module's forward by name."""
    forward = model.forward
    return _parameters(getattr(forward, "__func__", forward), hasattr(forward, "__func__"))


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any], is_method: bool) -> Mapping[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    if is_method:
        parameters.pop(next(iter(parameters)), None)  # self
    return parameters
