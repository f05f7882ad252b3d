"""torch's grad mode, back as it was whatever ends a call, Ctrl-C included.

``torch.no_grad()`` ends in a method written in Python, and an interrupt that comes as this method begins leaves the
mode switched off: the next training step of the same thread would have no gradients. The functions here end in one
call of a C function, before which Python delivers no interrupt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def keep_grad_mode(function: Function) -> Function:
    """The function; the mode is afterwards what it was before, whatever happens inside."""

    @wraps(function)
    def kept(*args: Any, **kwargs: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None:  # nothing has been computed yet, and what only reads tables never does
            return function(*args, **kwargs)
        before = torch.is_grad_enabled()
        try:
            return function(*args, **kwargs)
        finally:
            torch._C._set_grad_enabled(before)  # noqa: SLF001 (torch's public names for it are written in Python)

    return cast("Function", kept)


def without_grad(function: Function) -> Function:
    """The function, which runs without recording gradients."""

    @keep_grad_mode
    @wraps(function)
    def ungraded(*args: Any, **kwargs: Any) -> Any:
        sys.modules["torch"]._C._set_grad_enabled(False)  # noqa: SLF001 (as above)
        return function(*args, **kwargs)

    return cast("Function", ungraded)
