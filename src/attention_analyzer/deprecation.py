"""Old public names. They work for one release, with a ``DeprecationWarning`` that gives the new name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import currentframe, signature
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from attention_analyzer.arguments import explain
from attention_analyzer.errors import InputError
from attention_analyzer.grad_mode import keep_grad_mode

#: Of the arguments of attributions.
ATTRIBUTION_VALUES: Mapping[str, Mapping[str, str]] = {
    "method": {"rollout_normalised": "rollout_normalized"},
    "methods": {"rollout_normalised": "rollout_normalized"},
    "unit": {"piece": "token"},
    "target": {"written:": "position:", "tag:": "token_class:", "token:": "hidden:"},
}

P = ParamSpec("P")
R = TypeVar("R")


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn whoever called the function that calls this one; each level more is one caller further up."""
    message = f"{old} was renamed to {new}; the old name goes in 0.2."
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + _wrappers_within(stacklevel))


def _wrappers_within(levels: int) -> int:
    """Frames of what wraps public functions (:mod:`.arguments`, :mod:`.grad_mode`), among callers up to that level."""
    own = currentframe()
    frame: FrameType | None = None if own is None else own.f_back
    wrappers = 0
    while levels > 1 and frame is not None and (frame := frame.f_back) is not None:
        module = frame.f_globals.get("__name__", "")
        if module in {explain.__module__, keep_grad_mode.__module__}:
            wrappers += 1
        elif not module.startswith("importlib."):  # which warnings does not count either
            levels -= 1
    return wrappers


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


def renamed_arguments(
    names: Mapping[str, str] | None = None, values: Mapping[str, Mapping[str, str]] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose keywords or values of arguments were renamed.

    Args:
        names: of keywords, ``{old: new}``.
        values: by (new) name of the argument, ``{old: new}``; an old value that ends in a colon is a prefix. Values in
            lists and tuples are renamed, too.
    """
    new_names, new_values = names or {}, values or {}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        positions = tuple(signature(function).parameters)

        @wraps(function)
        def call(*args: Any, **given: Any) -> R:
            for old in new_names.keys() & given.keys():
                new = new_names[old]
                if new in given:
                    raise InputError(f"{old}= is the old name of {new}=; pass only {new}=.")
                warn_renamed(f"{old}=", f"{new}=")
                given[new] = given.pop(old)
            placed = dict(zip(positions, args, strict=False))
            for argument, table in new_values.items():
                for arguments in (placed, given):
                    if argument in arguments:
                        arguments[argument] = _renamed_value(arguments[argument], table)
            return function(*placed.values(), *args[len(placed) :], **given)

        return call

    return decorate


def _renamed_value(value: Any, new_values: Mapping[str, str], stacklevel: int = 4) -> Any:
    if isinstance(value, (list, tuple)):
        renamed_values = []
        for each in value:  # no comprehension: some versions of Python give it a frame of its own
            renamed_values.append(_renamed_value(each, new_values, stacklevel + 1))  # noqa: PERF401
        return type(value)(renamed_values)
    for old, new in new_values.items():
        if isinstance(value, str) and (value == old or (old.endswith(":") and value.startswith(old))):
            warn_renamed(repr(value), repr(new + value.removeprefix(old)), stacklevel=stacklevel)
            return new + value.removeprefix(old)
    return value
