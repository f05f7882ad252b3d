"""Runs a model up to one attention module, with other inputs or parameters and without the attention before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.module_hooks import hooks_removed

#: Variants of an input that run together.
_TOGETHER = 8
#: Changes beyond rounding, as a share of the largest number.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4}
_COARSE_ROUNDING = 2e-2


class NotReachedError(Exception):
    """The model cannot be run like this, or the module reads no sequence of this size."""


class _Reached(BaseException):
    """The module was reached; the rest of the forward is not needed."""


@dataclass(frozen=True)
class Probe:
    """One attention module of a model, and the inputs that it is tried with.

    Attributes:
        module: its path.
        before: paths of the attention modules that run before it; their outputs become zero, so that a token depends on
            nothing but its own part of the input.
        inputs: of the forward, on the model's device.
        name: which input is varied.
        size: how many tokens the module must read.
        last: whether of several sequences of this size the last one is meant: what cross-attention makes keys of.
    """

    model: nn.Module
    module: str
    before: tuple[str, ...]
    inputs: Mapping[str, Any]
    name: str
    size: int
    last: bool = False

    def run(self, variants: Sequence[Mapping[str, Any]], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the module reads with each variant of the inputs: float32 ``[variant, token, channel]``.

        Raises:
            NotReachedError: the module reads no sequence of this size.
        """
        together = _TOGETHER if self._can_run_together(variants) else 1
        starts = range(0, len(variants), together)
        return torch.cat([self._run_together(variants[start : start + together], parameters) for start in starts])

    def varied(self, values: Sequence[Tensor]) -> list[Mapping[str, Any]]:
        """The inputs with each of these values in place of the varied one."""
        return [{**self.inputs, self.name: value} for value in values]

    def changed(self, base: Tensor, after: Tensor) -> Tensor:
        """bool ``[variant, token]``: which tokens differ from ``base [1, token, channel]``, beyond rounding."""
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        limit = _ROUNDING.get(dtype, _COARSE_ROUNDING) * base.abs().amax()
        return (after - base).abs().amax(-1) > limit

    def _can_run_together(self, variants: Sequence[Mapping[str, Any]]) -> bool:
        """Whether every input has one row, so that rows can be variants."""
        rows = [value for each in variants[:1] for value in each.values() if isinstance(value, Tensor) and value.dim()]
        main = variants[0][self.name]
        return len(main) == 1 and main.dim() > 2 and all(len(value) == 1 for value in rows)

    def _run_together(self, variants: Sequence[Mapping[str, Any]], parameters: Mapping[str, Tensor] | None) -> Tensor:
        given = {
            name: torch.cat([each[name] for each in variants])
            if isinstance(value, Tensor) and value.dim() and len(variants) > 1
            else value
            for name, value in variants[0].items()
        }
        read: list[Tensor] = []
        thread = get_ident()  # another one may run the same model

        def silent(_: nn.Module, __: Any, output: Any) -> Any:
            return _silent(output) if get_ident() == thread else output

        def stop(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if get_ident() != thread:
                return
            read.extend(each for each in (*arguments, *options.values()) if isinstance(each, Tensor))
            raise _Reached

        with hooks_removed() as handles:
            for path in self.before:
                handles.append(self.model.get_submodule(path).register_forward_hook(silent))
            handles.append(self.model.get_submodule(self.module).register_forward_pre_hook(stop, with_kwargs=True))
            try:
                torch.func.functional_call(self.model, dict(parameters or {}), kwargs=given)
            except _Reached:
                pass
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
                raise NotReachedError(str(error)) from error
        count = len(variants)
        fitting = [
            tensor
            for tensor in read
            if tensor.is_floating_point() and tensor.dim() > 1 and tensor.shape[-1] > 1
            if tensor[..., 0].numel() == count * self.size
        ]
        if fitting:
            chosen = fitting[-1 if self.last else 0]
            return chosen.reshape(count, self.size, chosen.shape[-1]).float()
        raise NotReachedError("the module reads no sequence of this size")


def _silent(output: Any) -> Any:
    """An attention module's output without what it computed."""
    if isinstance(output, Tensor):
        return torch.zeros_like(output)
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return (torch.zeros_like(output[0]), *output[1:])
    return output
