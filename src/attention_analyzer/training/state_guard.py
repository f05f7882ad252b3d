"""Looking at a model in the middle of its training without changing anything that the training depends on."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from attention_analyzer.models.unwrapping import unwrap


def bare(model: nn.Module) -> nn.Module:
    """The model inside what compilation, parallelism and adapters put around it."""
    return unwrap(model).model


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Random states, buffers and compiled code are afterwards what they were; inside, nothing is autocast.

    ``model`` is the bare one. Accelerate puts autocast around its ``forward``; that is taken off for the while.

    Modes of modules are :meth:`.LoadedModel.evaluating`'s; gradients are not touched by a forward that records none.
    Compiled parts run as written: to compile them anew for the probes would cost minutes.
    """
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    kind = next((parameter.device.type for parameter in model.parameters()), "cpu")
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if {"forward", "_original_forward"} <= vars(model).keys():
            stack.callback(vars(model).__setitem__, "forward", vars(model)["forward"])
            vars(model)["forward"] = vars(model)["_original_forward"]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)
            random.setstate(generators[0])
            np.random.set_state(generators[1])
            torch.set_rng_state(generators[2])
            if on_gpu is not None:
                torch.cuda.set_rng_state_all(on_gpu)


def is_recording_process() -> bool:
    """Whether this is the one process of a distributed training that writes."""
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not spread or torch.distributed.get_rank() == 0
