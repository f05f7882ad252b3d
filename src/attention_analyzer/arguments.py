"""An argument of a wrong type is named in one sentence, whichever line fails on it.

Public classes are decorated with :func:`explain_arguments`, public functions with :func:`explain`. Nothing is checked
before a call: whatever works keeps working and costs nothing. Only when a call fails with an error of Python's own are
its arguments compared with their annotations, and the first that does not fit is named in an :class:`.InputError`.

A public call also leaves torch's grad mode as it was, whatever ends it (see :mod:`.grad_mode`).
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar, cast

from attention_analyzer.errors import AttentionAnalyzerError, InputError
from attention_analyzer.grad_mode import keep_grad_mode

Decorated = TypeVar("Decorated", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])
_LONGEST = 60


def explain_arguments(cls: Decorated) -> Decorated:
    """The class with its public methods and its constructor explained, those that it inherits from this package too."""
    for base in reversed(cls.__mro__):
        if base is not cls and not base.__module__.startswith(__package__):
            continue
        for name, member in list(vars(base).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if isinstance(member, (classmethod, staticmethod)):
                setattr(cls, name, type(member)(explain(member.__func__)))
            elif inspect.isfunction(member):
                setattr(cls, name, explain(member))
    return cls


def explain(function: Function) -> Function:
    """The function, whose errors name the argument that has another type than its annotation.

    Raises:
        InputError: when it is called so, in place of what Python would have raised.
    """

    @keep_grad_mode
    @wraps(function)
    def explained(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except AttentionAnalyzerError:
            raise
        except Exception as error:
            if (sentence := _misfit(function, args, kwargs)) is not None:
                raise InputError(sentence) from error
            raise

    return cast("Function", explained)


def _misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """A sentence about the first argument that its annotation does not allow; None if all are allowed."""
    signature = inspect.signature(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return None  # too many or unknown arguments: Python's own message names them
    names = _names_of(sys.modules[function.__module__])
    for name, value in given.items():
        parameter = signature.parameters[name]
        if parameter.annotation is parameter.empty or parameter.kind in {
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }:
            continue
        if not _fits(value, parameter.annotation, names):
            expected = str(parameter.annotation).replace("typing.", "")
            return f"{function.__name__}() takes {expected} for {name!r}, but {_shown(value)} was given."
    return None


class _Names(dict[str, Any]):
    """Names for annotations; one that is not known stands for anything."""

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return Any


def _names_of(module: ModuleType) -> _Names:
    """The names of a module, those among them that only type checkers import."""
    names = _Names(vars(module))
    with suppress(OSError, TypeError, SyntaxError):  # without its source, these stand for anything
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                for line in node.body:
                    with suppress(ImportError):
                        exec(compile(ast.Module([line], []), module.__name__, "exec"), {}, names)  # noqa: S102 - our own code
    return names


def _fits(value: Any, annotation: Any, names: _Names) -> bool:
    from typeguard import CollectionCheckStrategy, ForwardRefPolicy, TypeCheckError, check_type

    try:
        hint = eval(annotation, {}, names) if isinstance(annotation, str) else annotation  # noqa: S307 - our own code
        check_type(
            value,
            hint,
            forward_ref_policy=ForwardRefPolicy.IGNORE,
            collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
        )
    except TypeCheckError:
        return False
    except Exception:  # noqa: BLE001 - an annotation that cannot be evaluated says nothing
        return True
    return True


def _shown(value: Any) -> str:
    is_plain = value is None or isinstance(value, (str, bytes, int, float))
    text = repr(value) if is_plain else f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({type(value).__name__})"
