"""What a model raises on inputs that it cannot take, said with what was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import AttentionAnalyzerError, CaptureError, InputError, Option, TooLongError
from attention_analyzer.models.offload import check_weights

_PACKAGE = str(Path(__file__).parents[1])
#: What torch says where a CPU has no memory left; it has no class of its own for that.
_NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")


@contextmanager
def named_errors(model: nn.Module, inputs: Mapping[str, Any]) -> Iterator[None]:
    """Around a forward: errors of the model about its inputs become one sentence with what they are.

    Raises:
        InputError: the model failed on its inputs; its own error is the cause.
        CaptureError: not the model failed, but what reads its attention.
        TooLongError: the memory does not suffice for them.
        ModelError: the model has no weights.
    """
    check_weights(model)
    try:
        yield
    except (AttentionAnalyzerError, torch.OutOfMemoryError, NotImplementedError):
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError) as error:
        given = ", ".join(
            f"{name} {tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}: {type(value).__name__}"
            for name, value in inputs.items()
        )
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY):
            raise TooLongError(
                f"The memory does not suffice for {type(model).__name__} on the inputs given ({given})",
                ["shorten the text", Option("batch_size", "1")],
            ) from error
        reason = " ".join(str(error).split())[:300].rstrip(".")
        if _is_ours(error):
            raise CaptureError(
                f"The attention of {type(model).__name__} on the inputs given ({given}) could not be read, because of "
                f"a fault of this toolkit ({type(error).__name__}: {reason}); please report it."
            ) from error
        raise InputError(
            f"{type(model).__name__} could not run on the inputs given ({given}): {reason}; check their names, shapes "
            "and lengths."
        ) from error


def _is_ours(error: BaseException) -> bool:
    """Whether an error comes from this package's own code, called by a model's forward, and not from the model's.

    What only passes a call on (the wrapped attention function, the watch of operations) has no errors of its own.
    """
    trace, frames = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append((code.co_filename.startswith(_PACKAGE), code.co_name))
        trace = trace.tb_next
    ours = [name for is_ours, name in frames[1:] if is_ours]
    return bool({"after", "on_call", "on_weights", "finish"} & set(ours))
