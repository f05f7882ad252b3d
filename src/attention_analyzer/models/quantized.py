"""Layers with quantized weights, and the refusal of gradients where one of them passes none on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.module_hooks import hooks_removed


def quantized_layers(model: nn.Module) -> dict[str, str]:
    """By path, the class of every layer whose weights are quantized; parts of such a layer are not layers."""
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        if path.rpartition(".")[0] not in found and _is_quantized(module):
            found[path] = type(module).__name__
    return found


def _is_quantized(module: nn.Module) -> bool:
    if _is_torch_int8(module):
        return True
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    if any(tensor.is_quantized or _is_packed(tensor) for tensor in own):
        return True
    # GPTQ and AWQ keep codes as a buffer of integers.
    return isinstance(getattr(module, "qweight", None), Tensor)


def _is_torch_int8(module: nn.Module) -> bool:
    """torch's own int8 layers: their outputs claim a gradient, but what runs backwards is a warning and zeros."""
    return type(module).__module__.startswith("torch.ao.nn.quantized")


def _is_packed(tensor: Tensor) -> bool:
    # Codes and their scales; a distributed tensor holds one.
    if is_traceable_wrapper_subclass(tensor) and len(tensor.__tensor_flatten__()[0]) > 1:
        return True
    return isinstance(tensor, nn.Parameter) and not tensor.is_floating_point() and not tensor.is_complex()


@contextmanager
def gradients_needed(model: nn.Module) -> Iterator[None]:
    """Around a forward whose gradients are asked for.

    Raises:
        UnsupportedModelError: a quantized layer passes no gradients on, so that some would silently be missing.
    """
    layers = quantized_layers(model)
    watched = {id(model.get_submodule(path)): path for path in layers}
    thread = get_ident()

    def check(module: nn.Module, args: Any, output: Any) -> None:
        path = watched.get(id(module)) if get_ident() == thread and torch.is_grad_enabled() else None
        if path is None or not isinstance(output, Tensor) or (output.requires_grad and not _is_torch_int8(module)):
            return
        if any(isinstance(value, Tensor) and value.requires_grad for value in args):
            raise UnsupportedModelError(
                f"{type(model).__name__} has quantized weights through which no gradients pass ({path}, a "
                f"{layers[path]}), so methods by gradient are not available for it; use one that needs none, or the "
                "model before it was quantized."
            )

    if not layers:
        yield
        return
    with hooks_removed() as handles:
        handles.append(register_module_forward_hook(check))
        yield
