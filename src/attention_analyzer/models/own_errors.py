"""What a model raises on inputs that it cannot take, said with what was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import AttentionAnalyzerError, InputError, TooLongError
from attention_analyzer.models.offload import check_weights

#: What torch says where a CPU has no memory left; it has no class of its own for that.
_NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")


@contextmanager
def named_errors(model: nn.Module, inputs: Mapping[str, Any]) -> Iterator[None]:
    """Around a forward: errors of the model about its inputs become one sentence with what they are.

    Raises:
        InputError: the model failed on its inputs; its own error is the cause.
        TooLongError: the memory does not suffice for them.
        ModelError: the model has no weights.
    """
    check_weights(model)
    try:
        yield
    except (AttentionAnalyzerError, torch.OutOfMemoryError, NotImplementedError):
        raise
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        given = ", ".join(
            f"{name} {tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}: {type(value).__name__}"
            for name, value in inputs.items()
        )
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY):
            raise TooLongError(
                f"The memory does not suffice for {type(model).__name__} on the inputs given ({given}); shorten the "
                "text, or run fewer texts together (batch_size=1)."
            ) from error
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(
            f"{type(model).__name__} could not run on the inputs given ({given}): {reason}; check their names, shapes "
            "and lengths."
        ) from error
