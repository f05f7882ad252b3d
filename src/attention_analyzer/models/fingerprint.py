"""What tells two models apart: a hash of all weights, of the configuration and of what modules are set to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import xxhash
from torch import nn

from attention_analyzer.models.offload import own_values, weights_of
from attention_analyzer.models.settings import readable, settings_of
from attention_analyzer.models.structure import named_modules
from attention_analyzer.models.tensors import leaves

#: Elements of each tensor that are looked at to see whether a model has changed since it was hashed.
_SAMPLE = 16
#: Attributes that say nothing about what a module computes in inference.
_BOOKKEEPING = frozenset(vars(nn.Module())) | {"gradient_checkpointing", "_is_hf_initialized"}
#: Tensors that have no parts.
_PLAIN_TENSORS = frozenset({torch.Tensor, nn.Parameter})
#: Types of values that may say something.
_PLAIN = frozenset({bool, float, str, list, tuple, set, dict})
#: The last mark and fingerprint of each model.
_hashed: WeakKeyDictionary[nn.Module, tuple[int, str]] = WeakKeyDictionary()


def fingerprint(model: nn.Module) -> str:
    """32 hexadecimal digits that change with any weight, buffer, dtype or setting of the model (xxHash, 128 bits).

    What its modules are set to counts, too: which adapter is active, a factor of the scores.
    """
    digest = xxhash.xxh3_128()
    digest.update(json.dumps(_settings(model), sort_keys=True, default=readable).encode())
    switches = [switch for path, module in named_modules(model) for switch in _switches(path, module)]
    digest.update(repr(switches).encode())
    for name, value in weights_of(model):
        for part, leaf in leaves(name, value):
            if isinstance(leaf, str):
                digest.update(f"{part}:{leaf}".encode())
            else:
                digest.update(f"{part}:{leaf.dtype}:{tuple(leaf.shape)}".encode())
                digest.update(_bytes(leaf))
    return digest.hexdigest()


def cached_fingerprint(model: nn.Module, mark: int | None = None) -> str:
    """:func:`fingerprint`, computed again only when the model has changed since.

    Args:
        mark: :func:`state_mark` of the model as it is now, if that is known.
    """
    mark = state_mark(model) if mark is None else mark
    known = _hashed.get(model)
    if known is None or known[0] != mark:
        known = _hashed[model] = mark, fingerprint(model)
    return known[1]


@dataclass(frozen=True)
class State:
    """What a model was at one moment.

    Attributes:
        mark: :func:`state_mark` then.
        known: its fingerprint, where it was hashed before.
    """

    mark: int
    known: str | None

    @classmethod
    def of(cls, model: nn.Module) -> State:
        """Of a model as it is now."""
        mark = state_mark(model)
        last = _hashed.get(model)
        return cls(mark, last[1] if last is not None and last[0] == mark else None)

    def fingerprint(self, model: nn.Module) -> str:
        """The fingerprint that the model had then; "" if it was never hashed and has changed since."""
        if self.known is not None:
            return self.known
        now = state_mark(model)
        return cached_fingerprint(model, now) if now == self.mark else ""


def state_mark(model: nn.Module) -> int:
    """A cheap mark that changes when weights are replaced, stepped by an optimizer or loaded anew, or a switch is set.

    It reads a few elements of each tensor besides torch's own version counters, because assignments through ``.data``
    do not count there. Weights that are kept on disk are not read: nothing trains them.
    """
    marks: list[Any] = []
    samples: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for path, module in named_modules(model):
        marks += _switches(path, module)
        for name, value in own_values(module):
            parts = [(name, value.detach())] if type(value) in _PLAIN_TENSORS else leaves(name, value)
            for part, leaf in parts:
                if isinstance(leaf, str):
                    marks.append((part, leaf))
                elif leaf.is_meta:
                    marks.append((id(value), leaf.shape))
                else:
                    marks.append((leaf.data_ptr(), leaf._version))  # noqa: SLF001
                    samples.setdefault((leaf.dtype, leaf.device), []).append(_sample(leaf))
    # All of a kind at once: one operation, and from a GPU one transfer. As bytes, in which NaN equals itself.
    return hash((*marks, *(_bytes(torch.cat(kind)).tobytes() for kind in samples.values())))


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    step = max(1, tensor.numel() // _SAMPLE)
    if tensor.is_contiguous():
        return tensor.as_strided((-(-tensor.numel() // step),), (step,))
    return tensor.reshape(-1)[::step]


def _settings(model: nn.Module) -> dict[str, Any]:
    settings = settings_of(getattr(model, "config", None))
    # Where the checkpoint lay and which library wrote it do not change what the model computes.
    for name in ("_name_or_path", "transformers_version", "_attn_implementation_autoset"):
        settings.pop(name, None)
    return {"class": type(model).__name__, "config": settings}


def _switches(path: str, module: nn.Module) -> list[tuple[str, str, Any]]:
    """Switches and factors that a module keeps as plain attributes: ``(module, name, value)``.

    Whole numbers are left out: sizes show in the weights, and some modules count as they run. What a whole model of
    the library is set to stands in its configuration.
    """
    if hasattr(type(module), "get_input_embeddings") and hasattr(module, "config"):
        return []
    settings = vars(module)
    own = settings.keys() - _BOOKKEEPING
    return [
        (path, name, plain)
        for name, value in settings.items()
        if name in own and type(value) in _PLAIN and (plain := _plain(value)) is not None
    ]


def _plain(value: Any) -> Any:
    """A flag, number or word, or a collection of them, as something that can be hashed; None for anything else."""
    if type(value) in (bool, float, str):
        return value
    if type(value) in (list, tuple, set, dict) and value:
        if isinstance(value, Mapping):
            parts = [(str(key), _plain(part)) for key, part in value.items()]
            return tuple(parts) if all(part is not None for _, part in parts) else None
        inner = [_plain(part) for part in (sorted(value, key=str) if isinstance(value, set) else value)]
        return tuple(inner) if all(part is not None for part in inner) else None
    return None


def _bytes(tensor: torch.Tensor) -> Any:
    """The tensor's bytes as a NumPy array, without a copy where it is contiguous and on the CPU."""
    plain = tensor.detach().reshape(-1).contiguous().cpu()
    return (plain.view(torch.uint8) if plain.numel() else torch.empty(0, dtype=torch.uint8)).numpy()
