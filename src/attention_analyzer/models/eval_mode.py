"""Modules in eval mode while anybody needs them so, in whichever thread, and afterwards in the mode that they had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from attention_analyzer.cleanup import undone
from attention_analyzer.locks import ForkSafeLock
from attention_analyzer.models.structure import modules as all_modules

_lock = ForkSafeLock()
#: Modules that were training, with the blocks that need them in eval mode.
_users: WeakKeyDictionary[nn.Module, set[object]] = WeakKeyDictionary()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model without dropout. The last of several blocks to end, not the first, lets its modules train again.

    An interrupt at any point leaves every module in the mode that it had.
    """
    block = object()
    modules: list[nn.Module] = []
    with undone(lambda: _leave(modules, block)):
        with _lock():
            modules += (module for module in all_modules(model) if module.training or module in _users)
            for module in modules:
                _users.setdefault(module, set()).add(block)
            if modules:
                model.eval()
        yield


def _leave(modules: Iterable[nn.Module], block: object) -> None:
    with _lock():
        for module in modules:
            users = _users.get(module, set())
            if users == {block}:
                # The mode comes first: while its entry is there, a second try finds the module.
                module.training = True
                del _users[module]
            else:
                users.discard(block)
