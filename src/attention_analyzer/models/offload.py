"""Models in several places: over devices, in main memory or on disk, as accelerate's ``device_map`` puts them.

Accelerate fetches a module's weights while it runs and leaves empty ones (on torch's ``meta`` device) behind. What a
model computes is heard in the same way; what looks at its weights asks here for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from attention_analyzer.errors import ModelError
from attention_analyzer.models.structure import modules, own_parameters, saved_buffers


def input_device(model: nn.Module) -> torch.device:
    """Where inputs belong: where the model's first part runs."""
    chosen = getattr(getattr(model, "_hf_hook", None), "execution_device", None)
    if chosen is not None:
        return torch.device(chosen)
    first = next((p for p in model.parameters() if not p.is_meta), None)
    return torch.device("cpu") if first is None else first.device


def on_several_devices(model: nn.Module) -> bool:
    """Whether parts of the model run on different devices."""
    places = getattr(model, "hf_device_map", None) or {}
    return len({str(place) for place in places.values()} - {"cpu", "disk"}) > 1


def weights_of(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything that is saved with a model, by name; weights kept elsewhere are fetched one at a time.

    Mostly tensors; quantized layers save more kinds of values (see :mod:`.tensors`).
    """
    elsewhere = _elsewhere(model)
    for name, value in saved_values(model).items():
        yield name, _fetched(name, elsewhere) if isinstance(value, Tensor) and value.is_meta else value


def saved_values(model: nn.Module) -> Mapping[str, Any]:
    """What ``state_dict`` gives, without changing the model.

    bitsandbytes packs 4-bit weights anew for some CPUs when they first run, and its ``state_dict`` unpacks them in
    place, with other rounding; of such a layer its tensors are taken as they are.
    """
    if not any(map(_is_packed, modules(model))):
        return model.state_dict(keep_vars=True)
    found: dict[str, Any] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        name = f"{path}." if path else ""
        found |= {f"{name}{part}": value for part, value in own_values(module)}
    return found


def own_values(module: nn.Module) -> Iterable[tuple[str, Any]]:
    """What one module itself adds to :func:`saved_values`, by its name there."""
    if _saves_plainly(type(module)):  # type: ignore[arg-type]
        return [*own_parameters(module), *saved_buffers(module)]
    if _is_packed(module):
        weight: Any = module.weight
        state = _tensors_of(weight.quant_state)
        return [*own_parameters(module), *((f"weight.{part}", value) for part, value in state)]
    found: dict[str, Any] = {}
    module._save_to_state_dict(found, "", keep_vars=True)  # noqa: SLF001 (one module's own part of it)
    return found.items()


@cache
def _saves_plainly(kind: type[nn.Module]) -> bool:
    """Whether modules of a class save their parameters and buffers, and nothing else."""
    own = ("_save_to_state_dict", "get_extra_state")
    return all(getattr(kind, name, None) is getattr(nn.Module, name) for name in own)


def _is_packed(module: nn.Module) -> bool:
    state = getattr(dict(own_parameters(module)).get("weight"), "quant_state", None)
    return bool(getattr(state, "packing_format_for_cpu", False))


def _tensors_of(state: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a quantization's state, and of the state of its scales."""
    for name, value in vars(state).items():
        if isinstance(value, Tensor):
            yield name, value
        elif hasattr(value, "absmax"):
            yield from ((f"{name}.{inner}", each) for inner, each in _tensors_of(value))


def check_weights(model: nn.Module) -> None:
    """Raises ModelError if a weight has no numbers: it lies on torch's meta device, and nothing fetches it."""
    if not any(parameter.is_meta for module in modules(model) for _, parameter in own_parameters(module)):
        return
    empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    elsewhere = _elsewhere(model) if empty else {}
    for name in empty:
        if _holder(name, elsewhere) is None:
            raise _without_numbers(name)


def _elsewhere(model: nn.Module) -> dict[str, Mapping[str, Tensor]]:
    """By module path, what accelerate fetches for it."""
    found: dict[str, Mapping[str, Tensor]] = {}
    for path, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        for one in (hook, *getattr(hook, "hooks", ())):
            kept: Any = getattr(one, "weights_map", None)
            if kept is not None:
                found[path] = kept
    return found


def _fetched(name: str, elsewhere: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
    path = _holder(name, elsewhere)
    if path is None:
        raise _without_numbers(name)
    return elsewhere[path][name[len(path) + 1 :] if path else name]


def _holder(name: str, elsewhere: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The innermost module around a weight for which accelerate fetches weights."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        if path in elsewhere:
            return path
    return None


def _without_numbers(name: str) -> ModelError:
    return ModelError(
        f"{name} lies on torch's meta device, without numbers; load the weights (from_pretrained, or to_empty and "
        "load_state_dict) before the model is analyzed."
    )
