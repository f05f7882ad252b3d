"""Old public names. They work for one release, with a ``DeprecationWarning`` that gives the new name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from attention_analyzer.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn whoever called the function that calls this one; each level more is one caller further up."""
    warnings.warn(f"{old} was renamed to {new}; the old name goes in 0.2.", DeprecationWarning, stacklevel=stacklevel)


def renamed(function: Callable[P, R], old: str) -> Callable[P, R]:
    """A function or method under its old name."""

    @wraps(function)
    def call(*args: P.args, **given: P.kwargs) -> R:
        warn_renamed(old, function.__name__)
        return function(*args, **given)

    call.__name__, call.__doc__ = old, f"The old name of ``{function.__name__}``."
    return call


def renamed_names(module: str, new_names: Mapping[str, str]) -> Callable[[str], Any]:
    """``__getattr__`` of a module whose classes were renamed: ``{old: new}``."""

    def getattr_(name: str) -> Any:
        if name not in new_names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_renamed(name, new_names[name])
        return getattr(sys.modules[module], new_names[name])

    return getattr_


def renamed_keywords(**new_names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose keywords were renamed: ``old="new"``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: Any, **given: Any) -> R:
            for old in new_names.keys() & given.keys():
                if new_names[old] in given:
                    raise InputError(f"{old}= is the old name of {new_names[old]}=; pass only the new one.")
                warn_renamed(f"{old}=", f"{new_names[old]}=")
                given[new_names[old]] = given.pop(old)
            return function(*args, **given)

        return call

    return decorate


def renamed_value(value: Any, new_values: Mapping[str, Any], *, stacklevel: int = 3) -> Any:
    """The value of an argument under its new name: ``{old: new}``."""
    if not isinstance(value, str) or value not in new_values:
        return value
    warn_renamed(repr(value), repr(new_values[value]), stacklevel=stacklevel + 1)
    return new_values[value]
