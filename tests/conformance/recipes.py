"""What the automatic way cannot know: one small function a type, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Recipe:
    """How to build a type that does not build, or run, by itself.

    Attributes:
        why: what the automatic way cannot know.
        config: the configuration to shrink, from its class.
        after: changes to the shrunk configuration.
        model: the class to test, where the auto tables name none.
        inputs: keyword arguments of the forward, from the model and what was made automatically.
        steps: which steps of the ladder to try; all by default.
    """

    why: str
    config: Callable[[type], Any] | None = None
    after: Callable[[Any], None] | None = None
    model: str | None = None
    inputs: Callable[[nn.Module, dict[str, Any]], dict[str, Any]] | None = None
    steps: tuple[int, ...] | None = None


RECIPES: dict[str, Recipe] = {}
