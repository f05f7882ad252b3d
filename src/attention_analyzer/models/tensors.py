"""What a model's state consists of, down to plain tensors: quantized, packed and sharded weights are taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def leaves(name: str, value: Any) -> Iterator[tuple[str, Tensor | str]]:
    """Plain tensors, and settings in words, that one entry of a state consists of, each with a name of its own.

    torch's int8 layers keep their weights in tuples beside dtypes, its quantized tensors have scales, and torchao's and
    distributed tensors hold several plain ones.
    """
    if isinstance(value, Tensor):
        yield from _parts(name, value.detach())
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(f"{name}.{key}", part)
    elif isinstance(value, (tuple, list)):
        for number, part in enumerate(value):
            yield from leaves(f"{name}.{number}", part)
    elif isinstance(value, torch.ScriptObject):
        yield from leaves(name, value.__getstate__())
    else:
        yield name, repr(value)


def _parts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor | str]]:
    if is_traceable_wrapper_subclass(tensor):
        inner, settings = tensor.__tensor_flatten__()
        yield name, f"{type(tensor).__name__}{tuple(tensor.shape)}{settings}"
        for attribute in inner:
            yield from leaves(f"{name}.{attribute}", getattr(tensor, attribute))
    elif tensor.is_quantized:
        per_channel = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        yield name, tensor.int_repr()
        yield f"{name}.scale", tensor.q_per_channel_scales() if per_channel else str(tensor.q_scale())
        yield f"{name}.zero", tensor.q_per_channel_zero_points() if per_channel else str(tensor.q_zero_point())
    else:
        yield name, tensor
