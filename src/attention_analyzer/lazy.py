"""Public names of a package that are imported when they are first used, so that importing the package stays cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from attention_analyzer.deprecation import warn_renamed


def lazily(
    package: str, homes: Mapping[str, str], renamed: Mapping[str, str] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        homes: for each public name the module that has it; a name whose home is ``package.name`` is that module.
        renamed: old names of some of them, ``{old: new}``.
    """
    new_names = renamed or {}

    def getattr_(name: str) -> object:
        if name in new_names:
            warn_renamed(name, new_names[name])
            return getattr(sys.modules[package], new_names[name])
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        value = module if homes[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_, lambda: sorted({*vars(sys.modules[package]), *homes})
