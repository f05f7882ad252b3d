"""The modules that a model consists of, walked quickly, and given back where its own forward exchanges them."""

# ruff: noqa: SLF001 (torch offers these tables in no other way that is as quick)

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from attention_analyzer.cleanup import undone


def named_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Path and module, each module once, in the order of ``model.named_modules()``, in a fraction of its time."""
    found: list[tuple[str, nn.Module]] = []
    known: set[nn.Module] = set()
    waiting = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if module in known:
            continue
        known.add(module)
        found.append((path, module))
        children = module._modules
        if children:
            start = f"{path}." if path else ""
            waiting += [(start + name, child) for name, child in children.items() if child is not None][::-1]
    return found


def modules(model: nn.Module) -> list[nn.Module]:
    """Each module of a model once, the model first and then level by level."""
    found, known = [model], {model}
    for module in found:  # which grows
        for child in module._modules.values():
            if child is not None and child not in known:
                known.add(child)
                found.append(child)
    return found


def own_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """A module's parameters without those of the modules in it."""
    return [(name, value) for name, value in module._parameters.items() if value is not None]


def saved_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """A module's buffers that are saved with it, without those of the modules in it."""
    left_out = module._non_persistent_buffers_set
    return [(name, value) for name, value in module._buffers.items() if value is not None and name not in left_out]


class ModulePaths(dict[int, str]):
    """The path of each module by its id.

    A forward may put new modules in place of others (BigBird does on a short text); :meth:`meets` looks for those that
    are not known yet. Modules are held, so that no new one gets the id of one that is gone.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._held: dict[int, nn.Module] = {}
        self._read()

    def meets(self, module: nn.Module) -> bool:
        """Whether a module is part of the model now."""
        if id(module) not in self and id(module) not in self._held:
            self._held[id(module)] = module  # of another model, unless it is found
            self._read()
        return id(module) in self

    def _read(self) -> None:
        for path, module in named_modules(self._model):
            self[id(module)] = path
            self._held[id(module)] = module


@contextmanager
def own_modules_kept(model: nn.Module) -> Iterator[None]:
    """Modules that forwards in this block put in place of others are taken out after it.

    BigBird changes to full attention for good as soon as it reads a short text. With it go the settings of the modules
    around the exchanged ones, so that the same call has the same answer again.
    """
    before = [(module, _children(module), dict(vars(module))) for module in modules(model) if module._modules]

    def undo() -> None:
        changed = {id(module) for module, children, _ in before if module._modules != children}
        if not changed:
            return
        around = _with_ancestors(before, changed)
        for module, children, settings in before:
            if id(module) in changed:
                for name in set(_children(module)) - set(children):
                    del module._modules[name]
                module._modules.update(children)
            if id(module) in around:
                for name, value in settings.items():
                    if isinstance(value, str) and getattr(module, name, value) != value:
                        setattr(module, name, value)

    with undone(undo):
        yield


def _children(module: nn.Module) -> dict[str, Any]:
    return dict(module._modules.items())


def _with_ancestors(before: list[tuple[nn.Module, dict[str, Any], dict[str, Any]]], inner: set[int]) -> set[int]:
    """Ids of the modules, and of all modules that they are in."""
    found, size = set(inner), 0
    while len(found) > size:
        size = len(found)
        found |= {id(module) for module, children, _ in before if any(id(one) in found for one in children.values())}
    return found
