"""A model's configuration as names and values, whichever kind of object holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def settings_of(config: Any) -> dict[str, Any]:
    """A transformers configuration, a mapping (diffusers), a dataclass or a plain object as a dict; None as none."""
    if config is None:
        return {}
    if callable(getattr(config, "to_dict", None)):
        return dict(config.to_dict())
    if isinstance(config, Mapping):
        return dict(config)
    return dict(getattr(config, "__dict__", {}))


def readable(value: Any) -> str:
    """A value that JSON has no form for: its text, or its type where the text would have an address in memory."""
    text = str(value)
    return type(value).__name__ if " at 0x" in text else text
